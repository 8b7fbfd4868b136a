#!/usr/bin/env python3
"""Copies the small recordings of zrepl 0.7.0 here and writes the expected.tsv of each scenario.

usage: import.py DIRECTORY-OF-RECORDINGS [OTHER-DIRECTORY]

With a second argument, all recordings are written there instead, of any length (300 MB), for replay.rs (ZREPL_RECORDINGS).

expected.tsv is made from messages.jsonl of the recordings, that is from another decoder than ours. Bodies of messages and
streams are taken from the raw bytes at the offsets that messages.jsonl gives; those of streams are checked against its SHA-256
and listed with FNV-1a, which a test can compute without a library.
"""
import glob, hashlib, json, os, subprocess, sys

SCENARIOS = """01-push-full 02-push-incr 03-push-noop 04a-pull-full 04b-pull-incr 04c-pull-noop 05a-push-reset
05a-push-resume 06a-client-not-in-map 06b-crafted 06c0-initial 06c1-diverged 06c2-receiver-modified 06e-prune-held
06f-root-fs-missing 06h-crafted 06i-push-next 06i-push-zfs-recv-killed 08a-push-encrypted-full 08b-push-encrypted-incr
11a-ssh-full 11b-ssh-incr 11c-ssh-daemon-down""".split()
MAX_FILE = 65536
NAMES = {"ZFSStream": "ZfsStream", "RST": "Rst"}
# Where a decoder of messages must stop, by file and offset of the frame, and what it says. Written by hand.
REFUSED = {
    ("06b-crafted", "src-bad-frametype.c2s", 131):
        "unknown frame type 0x02000000, expected ReqHeader (0x00000001), a heartbeat or RST",
    ("06b-crafted", "src-wrong-order.c2s", 131):
        "unexpected frame type ReqStructured (0x00000002), expected ReqHeader (0x00000001)",
}


def fnv(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def zstd(*arguments):
    return subprocess.run(["zstd", "-dc", *arguments], check=True, stdout=subprocess.PIPE).stdout


def unpack(path):
    if os.path.exists(path):
        return open(path, "rb").read()
    if os.path.exists(path + ".zst"):
        return zstd(path + ".zst")
    for packed in glob.glob(path + ".dict?.zst"):
        block = os.path.join(os.path.dirname(path), f"../payload-blocks/payload-block-{packed[-5]}.bin")
        return zstd("--long=27", "-D", block, packed)
    return None


def one_by_one(records):
    """Divides the records that stand for several frames. The last frame of one may be cut off."""
    for r in records:
        end = r["off"] + r["len"]
        for i in range(r.get("frames", 1)):
            one = dict(r)
            if "frames" in r:
                one["off"] = r["off"] + i * (8 + r["payload_each"])
                one["len"] = min(8 + r["payload_each"], end - one["off"])
                one["payload"] = r["payload_each"]
            yield one


def rows_of(scenario, name, data, records):
    """Yields (offset, length, text) for all of a file."""
    at, body, trailer, refused = 0, b"", "", False
    for r in one_by_one(records):
        off, length, kind = r["off"], r["len"], r["kind"]
        if kind in ("h2", "h2-preface", "raw"):
            break
        assert off == at, (name, off, at)
        at += length
        if kind == "netssh":
            yield off, length, "netssh " + r["value"]
        elif kind == "banner":
            lines = r["text"].split("\n")[1:-1]
            version = int(r["text"].split("PROTOVERSION=")[1][:4])
            yield off, length, f"banner {version} {len(lines)}"
        elif kind == "label":
            yield off, length, "label " + r["value"]
        else:
            assert kind == "frame", r
            type_name = NAMES.get(r["name"], r["name"])
            payload = data[off + 8:off + length]
            assert len(payload) == r["payload"] or at == len(data), r
            text = f"frame {type_name} {r['payload']}"
            if type_name == "StreamErrTrailer":
                trailer += r["text"]
            elif type_name == "End" and not refused:
                ended = NAMES.get(r["ends"].split()[0], r["ends"].split()[0])
                if "stream_sha256" in r:
                    assert hashlib.sha256(body).hexdigest() == r["stream_sha256"], r
                if trailer:
                    text += f" fails {ended} {len(body)} {fnv(body)} {json.dumps(trailer, ensure_ascii=False)}"
                elif ended in ("ReqHeader", "ResHeader"):
                    assert body.decode() == r["value"], r
                    text += f" ends {ended} {json.dumps(r['value'], ensure_ascii=False)}"
                else:
                    text += f" ends {ended} {len(body)} {fnv(body)}"
                body, trailer = b"", ""
            elif type_name not in ("End", "Heartbeat", "Rst"):
                body += payload
            if (scenario, name, off) in REFUSED:
                refused = True
                text += " refused " + json.dumps(REFUSED[scenario, name, off])
            yield off, length, text
    if at < len(data):
        yield at, len(data) - at, "opaque"


def main(source, out=None):
    here = out or os.path.dirname(os.path.abspath(__file__))
    limit = float("inf") if out else MAX_FILE
    scenarios = SCENARIOS
    if out:
        scenarios = sorted(os.path.basename(os.path.dirname(n)) for n in glob.glob(source + "/*/messages.jsonl.zst"))
        # Not this protocol, and TLS that ended before it.
        skip = ("10-control-socket", "07-tls-cnonly", "07-tls-othercn", "07-tls-badca")
        scenarios = [scenario for scenario in scenarios if scenario not in skip]
    total, files = 0, 0
    for scenario in scenarios:
        directory = os.path.join(source, scenario)
        records = {}
        for line in unpack(os.path.join(directory, "messages.jsonl")).splitlines():
            r = json.loads(line)
            if r["kind"] != "tcp":
                stem = r["case"] if "case" in r else f"conn{r['conn']:02}"
                records.setdefault(f"{stem}.{r['dir']}", []).append(r)
        inner = [os.path.join(directory, n) for n in ("conns", "plaintext")]
        raw = next(filter(os.path.isdir, inner), directory)
        stems = (n.split(".")[:2] for n in os.listdir(raw))
        names = sorted({".".join(n) for n in stems if n[1] in ("c2s", "s2c")})
        os.makedirs(os.path.join(here, scenario), exist_ok=True)
        with open(os.path.join(here, scenario, "expected.tsv"), "w", encoding="utf-8") as index:
            for name in names:
                data = unpack(os.path.join(raw, name))
                if len(data) > limit:
                    print("too long:", scenario, name)
                    continue
                ordered = sorted(records.get(name, []), key=lambda r: r["off"])
                for off, length, text in rows_of(scenario, name, data, ordered):
                    index.write(f"{name}\t{off}\t{length}\t{text}\n")
                if not data:
                    index.write(f"{name}\t0\t0\tempty\n")
                with open(os.path.join(here, scenario, name), "wb") as copy:
                    copy.write(data)
                total += len(data)
                files += 1
    print(files, "files", total, "bytes")


main(*sys.argv[1:])
