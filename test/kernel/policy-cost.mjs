/**
 * Nanoseconds a packet of an object's program, run by the built package as users run it (test tools rewrite modules, which
 * makes them slower): `node policy-cost.mjs OBJECT FRAME-HEX ROUNDS` reads map entries as JSON from standard input.
 */
import { readFileSync } from "node:fs";
import { createPrng } from "../../dist/base/index.js";
import { BpfRunner, BpfSpace, loadObject, ProgramType, readObject } from "../../dist/filter/bpf/index.js";

const [object = "", hex = "", rounds = "0"] = process.argv.slice(2);
const space = new BpfSpace();
const loaded = loadObject(space, readObject(readFileSync(object), object));
for (const [name, entries] of Object.entries(JSON.parse(readFileSync(0, "utf8"))))
  for (const { key, value } of entries)
    space.map(loaded.maps.get(name))?.update(Uint8Array.from(key), 0, Uint8Array.from(value), 0, 0);
const program = space.program([...loaded.programs.values()][0]);
const runner = new BpfRunner({ space, nowNs: () => 0, random: createPrng(1) });
const frame = Uint8Array.from(Buffer.from(hex, "hex"));
const run = (count) => {
  const start = process.hrtime.bigint();
  for (let i = 0; i < count; i++) runner.run(program, ProgramType.schedCls, frame, 14, {});
  return Number(process.hrtime.bigint() - start) / count;
};
run(20_000);
process.stdout.write(String(run(Number(rounds))));
