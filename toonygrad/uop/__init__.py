"""The one intermediate representation, from the recorded tensor graph to the loop nest."""
