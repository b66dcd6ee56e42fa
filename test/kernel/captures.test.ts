/** Captures as the tools that everybody has read them: capinfos, tcpdump and tshark are asked about the same files. */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, expect, it } from "vitest";
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
import { frame, tcp, udp } from "../../src/packet/index.ts";
import { describeNeeding } from "../needs.ts";

const captures = join(process.env["PODWIRE_SHARED"] ?? "../shared", "captures");

/** What capinfos counts; `undefined` where it cannot read the file. */
function capinfosCount(file: string): number | undefined {
  const { stdout } = spawnSync("capinfos", ["-c", "-M", "-T", "-r", file], { encoding: "utf8" });
  const count = stdout.trim().split("\t").at(-1);
  return count !== undefined && /^[0-9]+$/.test(count) ? Number(count) : undefined;
}

describeNeeding("captures beside other tools", ["capinfos", "tshark", "tcpdump"], () => {
  const folder = mkdtempSync(join(tmpdir(), "podwire-captures-"));
  afterAll(() => rmSync(folder, { recursive: true }));

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

  const ends = { src: "10.0.0.1", dst: "10.0.0.2", sport: 40_000, dport: 80 };
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
    const fields = [
      "frame.time_epoch",
      "frame.interface_name",
      "frame.packet_flags_direction",
      "frame.comment",
      "frame.len",
    ];
    fc.assert(
      fc.property(records, (made) => {
        writeFileSync(path, Buffer.concat([pcapngHeader(interfaces), ...made.map(pcapngPacket)]));
        const seen = execFileSync(
          "tshark",
          [
            "-r",
            path,
            "-Tfields",
            "-Eseparator=|",
            "-Eaggregator=+",
            ...fields.flatMap((field) => ["-e", field]),
          ],
          { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] },
        );
        const expected = made.map(
          ({ seconds, nanoseconds, interfaceIndex, direction, comments = [], bytes }) =>
            [
              `${seconds}.${String(nanoseconds).padStart(9, "0")}`,
              interfaces[interfaceIndex]?.name,
              direction === "in" ? "0x00000001" : "0x00000002",
              comments.join("+"),
              bytes.length,
            ].join("|"),
        );
        expect(seen.trimEnd().split("\n")).toEqual(expected);
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
