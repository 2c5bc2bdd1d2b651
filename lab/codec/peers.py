"""General compressors on the columns of a recording, for `lab codec --peers`.

    python3 peers.py FILE.json MIN_RATE_HZ N [N ...]

Prints one JSON object per n and subject: bytes, samples, CPU seconds of encode
and decode, lossless. A cut is n samples of every channel that has them; zstd
takes one as a whole, channel after channel, Pco a chunk per channel and cut.
"""

import gzip
import json
import os
import sys
import time

import numpy
import pcodec
import zstandard


def load(path, min_rate):
    """The channels' values, integers as narrow as fits, of 16 bits at least."""
    with open(path, encoding="utf-8") as f:
        channels = json.load(f)["channels"]
    base = path.removesuffix(".json")
    if os.path.exists(base + ".bin"):
        with open(base + ".bin", "rb") as f:
            raw = f.read()
    else:
        with gzip.open(base + ".bin.gz") as f:
            raw = f.read()
    columns = []
    for c in channels:
        if c["rate_hz"] < min_rate:
            continue
        kind = "<f4" if c["type"] == "f32" else "<i4"
        a = numpy.frombuffer(raw, kind, c["samples"], c["byte_offset"])
        if kind == "<i4" and len(a):
            for narrow in (numpy.int16, numpy.uint16):
                info = numpy.iinfo(narrow)
                if info.min <= a.min() and a.max() <= info.max:
                    a = a.astype(narrow)
                    break
        columns.append(numpy.ascontiguousarray(a))
    return columns


def cuts(columns, n):
    for s in range(0, max(map(len, columns), default=0), n):
        cut = [a[s : s + n] for a in columns if s + n <= len(a)]
        if cut:
            yield cut


def zstd(level):
    packer = zstandard.ZstdCompressor(level=level, write_checksum=False, write_content_size=False)
    unpacker = zstandard.ZstdDecompressor()

    def encode(cut):
        return packer.compress(b"".join(a.tobytes() for a in cut))

    def decode(packed, cut):
        size = sum(a.nbytes for a in cut)
        return unpacker.decompress(packed, max_output_size=size)

    def same(got, cut):
        return got == b"".join(a.tobytes() for a in cut)

    return encode, decode, same, len


def pco(level):
    files = pcodec.wrapped.FileCompressor()
    reader, _ = pcodec.wrapped.FileDecompressor.new(files.write_header())
    config = pcodec.ChunkConfig(compression_level=level)

    def encode(cut):
        out = []
        for a in cut:
            chunk = files.chunk_compressor(a, config)
            meta = chunk.write_meta()
            out.append((meta, [(n, chunk.write_page(i)) for i, n in enumerate(chunk.n_per_page())]))
        return out

    def decode(packed, cut):
        got = []
        for (meta, pages), a in zip(packed, cut):
            kind = a.dtype.kind + str(8 * a.dtype.itemsize)
            chunk, _ = reader.chunk_decompressor(meta, kind)
            to = numpy.empty(len(a), a.dtype)
            at = 0
            for n, page in pages:
                chunk.read_page_into(page, n, to[at : at + n])
                at += n
            got.append(to)
        return got

    def same(got, cut):
        return all(a.tobytes() == b.tobytes() for a, b in zip(got, cut))

    def size(packed):
        return sum(len(meta) + sum(len(page) for _, page in pages) for meta, pages in packed)

    return encode, decode, same, size


def measure(columns, n, codec):
    encode, decode, same, size = codec
    total = samples = 0
    encode_s = decode_s = 0.0
    lossless = True
    for cut in cuts(columns, n):
        t0 = time.thread_time()
        packed = encode(cut)
        t1 = time.thread_time()
        got = decode(packed, cut)
        t2 = time.thread_time()
        encode_s += t1 - t0
        decode_s += t2 - t1
        lossless = lossless and same(got, cut)
        total += size(packed)
        samples += n * len(cut)
    return {"bytes": total, "samples": samples, "encode_s": encode_s, "decode_s": decode_s, "lossless": lossless}


def main():
    path, min_rate, ns = sys.argv[1], float(sys.argv[2]), [int(a) for a in sys.argv[3:]]
    columns = load(path, min_rate)
    for n in ns:
        for subject, codec in (("zstd", zstd(3)), ("zstd19", zstd(19)), ("pco8", pco(8))):
            print(json.dumps({"n": n, "subject": subject, **measure(columns, n, codec)}), flush=True)


if __name__ == "__main__":
    main()
