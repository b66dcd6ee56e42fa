/** Captures as the tools that everybody has read them: capinfos, tcpdump and tshark are asked about the same files. */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { localMac } from "../../src/addr/index.ts";
import {
  type CaptureRecord,
  LinkType,
  pcapHeader,
  pcapngHeader,
  pcapngPacket,
  pcapPacket,
  readCapture,
} from "../../src/capture/index.ts";
import type { ReplayDocument } from "../../src/harness/index.ts";
import { frame, tcp, udp } from "../../src/packet/index.ts";
import { podwires } from "../cli/installed.ts";
import { pod } from "../harness/cluster.ts";
import { describeNeeding } from "../needs.ts";

const captures = resolve(process.env["PODWIRE_SHARED"] ?? "../shared", "captures");

/** What capinfos counts; `undefined` where it cannot read the file. */
function capinfosCount(file: string): number | undefined {
  const { stdout } = spawnSync("capinfos", ["-c", "-M", "-T", "-r", file], { encoding: "utf8" });
  const count = stdout.trim().split("\t").at(-1);
  return count !== undefined && /^[0-9]+$/.test(count) ? Number(count) : undefined;
}

const ends = { src: "10.0.0.1", dst: "10.0.0.2", sport: 40_000, dport: 80 };
const fields = [
  "frame.time_epoch",
  "frame.interface_name",
  "frame.packet_flags_direction",
  "frame.len",
  "frame.cap_len",
  "frame.comment",
] as const;

/** A line of `fields` for each packet of a file, as tshark reads it. */
function tsharkLines(file: string): readonly (readonly string[])[] {
  const asked = fields.flatMap((field) => ["-e", field]);
  const options = ["-r", file, "-Tfields", "-Eseparator=/t", "-Eaggregator=+", ...asked];
  const printed = execFileSync("tshark", options, {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
    maxBuffer: 1 << 26,
  });
  return printed
    .slice(0, -1)
    .split("\n")
    .map((line) => line.split("\t"));
}

describeNeeding("captures beside other tools", ["capinfos", "tshark", "tcpdump"], () => {
  const folder = mkdtempSync(join(tmpdir(), "podwire-captures-"));
  afterAll(() => rmSync(folder, { recursive: true }));

  describe.skipIf(!existsSync(captures))("replayed", () => {
    const names = existsSync(captures) ? readdirSync(captures).sort() : [];
    const args = ["cluster.yaml", "-e", "none", "--at", "n1", "-o"];

    it("every capture of others has as many packets as capinfos counts", () => {
      writeFileSync(join(folder, "cluster.yaml"), pod("x/a"));
      const runs = podwires(
        names.map((name) => ["replay", join(captures, name), ...args, "json"]),
        folder,
      );
      let compared = 0;
      for (const [i, { code, stdout, stderr }] of runs.entries()) {
        expect(code, `${names[i]}: ${stderr}`).toBe(0);
        const counted = capinfosCount(join(captures, names[i] ?? ""));
        if (counted === undefined) continue;
        const { packets, counts } = JSON.parse(stdout) as ReplayDocument;
        expect([packets.length, counts.packets], names[i]).toEqual([counted, counted]);
        compared++;
      }
      expect(compared).toBeGreaterThan(70);
    });

    it("and written again, all of them are for tshark what they were, with verdicts beside", () => {
      const own = join(folder, "own.pcapng");
      const interfaces = ["n1:eth0", "n1:azv1"].map((name) => ({ name, linkType: LinkType.raw }));
      const made = [0, 1, 0].map((interfaceIndex, i) =>
        pcapngPacket({
          interfaceIndex,
          seconds: 1_700_000_000,
          nanoseconds: 123_456_789 + i,
          bytes: udp({ ...ends, payload: new Uint8Array(i) }),
          comments: i === 2 ? [] : ["mine", "too"],
          direction: i === 0 ? "in" : "out",
        }),
      );
      writeFileSync(own, Buffer.concat([pcapngHeader(interfaces), ...made]));
      const merged = join(folder, "merged.pcapng");
      const readable = names
        .map((name) => join(captures, name))
        .filter((file) => capinfosCount(file) !== undefined);
      execFileSync("mergecap", ["-a", "-F", "pcapng", "-w", merged, own, ...readable], { stdio: "ignore" });
      const written = join(folder, "judged.pcapng");
      const [run] = podwires([["replay", merged, ...args, "jsonl", "--write", written]], folder);
      expect(run?.stderr).toBe("");
      const verdicts = (run?.stdout ?? "")
        .split("\n")
        .flatMap(
          (line) => /^\{"packet":.*?"verdict":"(\w+)","disposition":"([\w-]+)"/.exec(line)?.slice(1, 3) ?? [],
        );
      const [before, after] = [tsharkLines(merged), tsharkLines(written)];
      expect(before.length).toBeGreaterThan(300);
      expect(after.length).toBe(before.length);
      for (const [i, [time = "", ...rest]] of before.entries()) {
        const [timeAfter = "", ...restAfter] = after[i] ?? [];
        const comments = [rest.pop(), restAfter.pop()];
        expect(Number(`0.${timeAfter.split(".")[1]}`), `packet ${i}`).toBe(Number(`0.${time.split(".")[1]}`));
        expect([timeAfter.split(".")[0], ...restAfter], `packet ${i}`).toEqual([time.split(".")[0], ...rest]);
        const verdict = `${verdicts[2 * i]} (${verdicts[2 * i + 1]})`;
        const kept = comments[0] === "" ? "" : `${comments[0]}+`;
        expect(comments[1]?.startsWith(kept + verdict), `packet ${i}: ${comments.join(" | ")}`).toBe(true);
      }
      expect(after.slice(0, 3).map(([, name, direction]) => `${name} ${direction}`)).toEqual([
        "n1:eth0 0x00000001",
        "n1:azv1 0x00000002",
        "n1:eth0 0x00000002",
      ]);
    }, 120_000);
  });

  it.skipIf(!existsSync(captures))("every capture of others has as many packets as capinfos counts", () => {
    let compared = 0;
    for (const name of readdirSync(captures)) {
      const file = join(captures, name);
      const counted = capinfosCount(file);
      const { records } = readCapture(readFileSync(file), name);
      if (counted === undefined) continue;
      expect(records.length, name).toBe(counted);
      compared++;
    }
    expect(compared).toBeGreaterThan(70);
  });

  it("files cut anywhere have as many whole packets as capinfos counts", () => {
    const records = [1, 2, 3, 4].map((seconds) => ({
      interfaceIndex: 0,
      seconds,
      nanoseconds: 7,
      bytes: new Uint8Array(21).fill(seconds),
    }));
    const file = Buffer.concat([pcapHeader(LinkType.ethernet), ...records.map(pcapPacket)]);
    for (let size = 24; size <= file.length; size += 5) {
      const path = join(folder, "cut.pcap");
      writeFileSync(path, file.subarray(0, size));
      const counted = capinfosCount(path) ?? 0;
      expect(counted, `${size} bytes`).toBe(Math.floor((size - 24) / 37));
    }
  });

  const macs = { src: localMac(1), dst: localMac(2) };
  const packets = fc
    .oneof(
      fc.uint8Array({ maxLength: 60 }).map((payload) => udp({ ...ends, payload })),
      fc.nat({ max: 0xffffffff }).map((seq) => tcp({ ...ends, flags: 0x10, seq })),
    )
    .map((packet) => frame(packet, macs));
  const records = fc.array(
    fc.record<CaptureRecord>({
      interfaceIndex: fc.nat({ max: 1 }),
      seconds: fc.nat({ max: 0x7fffffff }),
      nanoseconds: fc.nat({ max: 999_999_999 }),
      bytes: packets,
      comments: fc.array(fc.stringMatching(/^[a-z0-9 :]{1,20}$/), { maxLength: 2 }),
      direction: fc.constantFrom("in", "out"),
    }),
    { minLength: 1, maxLength: 20 },
  );

  it("law: tshark reads in a pcapng file what was written, and tcpdump its packets", () => {
    const path = join(folder, "written.pcapng");
    const interfaces = [
      { name: "n1:eth0", linkType: LinkType.ethernet },
      { name: "n1:azv1", linkType: LinkType.ethernet },
    ];
    fc.assert(
      fc.property(records, (made) => {
        writeFileSync(path, Buffer.concat([pcapngHeader(interfaces), ...made.map(pcapngPacket)]));
        const expected = made.map(
          ({ seconds, nanoseconds, interfaceIndex, direction, comments = [], bytes }) => [
            `${seconds}.${String(nanoseconds).padStart(9, "0")}`,
            interfaces[interfaceIndex]?.name,
            direction === "in" ? "0x00000001" : "0x00000002",
            `${bytes.length}`,
            `${bytes.length}`,
            comments.join("+"),
          ],
        );
        expect(tsharkLines(path)).toEqual(expected);
        const lines = execFileSync("tcpdump", ["-nr", path], {
          encoding: "utf8",
          stdio: ["ignore", "pipe", "ignore"],
        });
        expect(lines.trimEnd().split("\n")).toHaveLength(made.length);
      }),
      { numRuns: 12 },
    );
  });

  it("law: a classic capture comes back from tcpdump byte for byte", () => {
    const [from, to] = [join(folder, "written.pcap"), join(folder, "again.pcap")];
    fc.assert(
      fc.property(records, (made) => {
        const file = Buffer.concat([pcapHeader(LinkType.ethernet), ...made.map(pcapPacket)]);
        writeFileSync(from, file);
        execFileSync("tcpdump", ["--nano", "-r", from, "-w", to], { stdio: "ignore" });
        expect(readFileSync(to).equals(file)).toBe(true);
      }),
      { numRuns: 12 },
    );
  });
});
