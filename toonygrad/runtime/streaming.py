"""A second form of a compiled kernel, whose results go to memory past the caches.

`compile.py` asks for it when a kernel has been optimised. A processor that writes a line of memory first
reads it into its cache; where all of the line is to be written, and nobody reads it soon, that is a fourth or
more of all traffic for nothing. Works on LLVM's text and knows nothing of kernels but the names of arguments.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

# The most that a kernel moves through the caches.
MOST_CACHE_BYTES = 16 << 20

# Optimised by LLVM, the loop over whole vectors begins with this; what is left over isn't worth the trouble.
_VECTOR_LOOP = "vector.body"
# Instructions for each vector of results from which on a loop computes longer than it waits for memory: a
# second form would only take its time to compile.
_MOST_INSTRUCTIONS = 128
_LABEL = re.compile(r"^([\w.]+):")
_SCOPE = re.compile(r'^!(\d+) = distinct !\{!\d+, !\d+, !"[^"]*: %arg\.(out\d+)"\}$', re.MULTILINE)
_SCOPES = re.compile(r"^!(\d+) = !\{!(\d+)\}$", re.MULTILINE)
_STORE = re.compile(
    r"^  store (<(\d+) x (\w+)>) (%\S+|zeroinitializer|splat \([^)]*\)), ptr (%\S+), align \d+, "
    r"!alias\.scope !(\d+)\b"
)
_READ = re.compile(r"\b(out\d+)\[")
_BITS = {"double": 64, "float": 32}
# Wider vectors are stored in pieces of this many bytes.
_LINE = 64

# The instruction traps on other addresses, which rows of odd lengths have.
_STREAM = """
define internal void @{name}({vector} %value, ptr %place) alwaysinline {{
  %address = ptrtoint ptr %place to i64
  %beyond = and i64 %address, {mask}
  %aligned = icmp eq i64 %beyond, 0
  br i1 %aligned, label %past, label %through
past:
  store {vector} %value, ptr %place, align {size}, !nontemporal !{metadata}
  ret void
through:
  store {vector} %value, ptr %place, align {element}
  ret void
}}
"""


def with_streaming(module: str, source: str, entry: str, name: str) -> str | None:
    """The optimised module with one more function, `name`: as `entry`, but its results pass the caches.

    Parameters
    ----------
    module : LLVM's text of the optimised module
    source : the kernel's source, which says what it reads
    entry : the name of the function it holds

    Returns
    -------
    str or None
        None where no result is written in whole vectors, or each is read again by the kernel itself.
    """
    read = {array for line in source.splitlines()[1:] for array in _READ.findall(line.partition("] = ")[2])}
    scopes = {number for number, array in _SCOPE.findall(module) if array not in read}
    lists = {number for number, scope in _SCOPES.findall(module) if scope in scopes}
    begin = module.index(f"define void @{entry}(")
    end = module.index("\n}\n", begin) + 3
    kinds: dict[str, tuple[str, int, int]] = {}
    lines: list[str] = []
    for block in _blocks(module[begin:end].splitlines()):
        stores = {
            k: found for k, line in enumerate(block) if (found := _STORE.match(line)) and found[6] in lists
        }
        label = _LABEL.match(block[0])
        if label and label[1].startswith(_VECTOR_LOOP) and len(block) <= _MOST_INSTRUCTIONS * len(stores):
            for k, store in stores.items():
                vector, lanes, element, value, place, _ = store.groups()
                bits = _BITS.get(element) or int(element[1:])
                helper = f"stream.{lanes}.{element}"
                kinds[helper] = vector, min(int(lanes) * bits // 8, _LINE), bits // 8
                block[k] = f"  call void @{helper}({vector} {value}, ptr {place})"
        if block[-1] == "  ret void":
            block.insert(
                -1, "  call void @llvm.x86.sse.sfence()"
            )  # before anybody is told that all is written
        lines += block
    if not kinds:
        return None
    metadata = 1 + max(int(number) for number in re.findall(r"^!(\d+) =", module, re.MULTILINE))
    helpers = [
        _STREAM.format(
            name=helper, vector=vector, mask=size - 1, size=size, element=element, metadata=metadata
        )
        for helper, (vector, size, element) in kinds.items()
    ]
    lines[0] = lines[0].replace(f"@{entry}(", f"@{name}(")
    declared = "declare void @llvm.x86.sse.sfence()\n"
    return "\n".join([module, *lines, *helpers, declared, f"!{metadata} = !{{i32 1}}\n"])


def _blocks(lines: Sequence[str]) -> Iterator[list[str]]:
    """The head of a function with its first block, the other blocks, and what closes it."""
    block: list[str] = []
    for line in lines:
        if block and (_LABEL.match(line) or line == "}"):
            yield block
            block = []
        if line:
            block.append(line)
    yield block


@functools.cache
def cache_bytes() -> int:
    """What a kernel moves beyond this doesn't stay in the caches until somebody reads it.

    Half of the last one, of which other cores have their share, and no more than a limit of its own: results
    of 8 MB pass it in 0.7 to 0.8 of the time on a Zen 4 with 32 MiB and on a Xeon with 300 MiB, and loops
    that read them again lose nothing.
    """
    sizes = []
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = path.read_text(encoding="ascii").strip()
        sizes.append(int(text.rstrip("KM")) << {"K": 10, "M": 20}.get(text[-1], 0))
    return min(max(sizes, default=MOST_CACHE_BYTES) // 2, MOST_CACHE_BYTES)
