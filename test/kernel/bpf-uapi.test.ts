/** Numbers and layouts of ours against the system's own headers. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import {
  contextLayout,
  Errno,
  MapFlag,
  MapType,
  ProgramType,
  signatures,
  UpdateFlag,
} from "../../src/filter/bpf/index.ts";
import { outcomeOf } from "../../src/filter/bpf/verdicts.ts";
import { describeNeeding } from "../needs.ts";

/** C expressions by name, and what a compiler makes of them. */
function evaluate(expressions: Readonly<Record<string, string>>): Readonly<Record<string, number>> {
  const folder = mkdtempSync(join(tmpdir(), "podwire-uapi-"));
  try {
    const lines = Object.entries(expressions).map(
      ([name, expression]) => `printf("\\"%s\\": %lld,\\n", "${name}", (long long)(${expression}));`,
    );
    writeFileSync(
      join(folder, "p.c"),
      `#include <errno.h>\n#include <stddef.h>\n#include <stdio.h>\n#include <linux/bpf.h>\n#include <linux/pkt_cls.h>\nint main(void) {\nprintf("{");\n${lines.join("\n")}\nprintf("\\"end\\": 0}");\n}\n`,
    );
    execFileSync("cc", ["-o", join(folder, "p"), join(folder, "p.c")]);
    return JSON.parse(execFileSync(join(folder, "p"), { encoding: "utf8" })) as Record<string, number>;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const upper = (name: string): string => name.replace(/([a-z])([A-Z])/g, "$1_$2").toUpperCase();

describeNeeding("the kernel's headers", ["cc"], () => {
  const same = (ours: Readonly<Record<string, number>>, expression: (name: string) => string): void => {
    const theirs = evaluate(Object.fromEntries(Object.keys(ours).map((name) => [name, expression(name)])));
    for (const [name, value] of Object.entries(ours))
      expect(`${name} = ${theirs[name]}`).toBe(`${name} = ${value}`);
  };

  it("have our map types, flags and errors", () => {
    same(MapType, (name) => `BPF_MAP_TYPE_${upper(name)}`);
    same({ ...UpdateFlag }, (name) => (name === "lock" ? "BPF_F_LOCK" : `BPF_${upper(name)}`));
    same({ ...MapFlag }, (name) => `BPF_F_${upper(name)}`);
    const { ENOTSUPP: kernelOnly, ...errors } = Errno;
    expect(kernelOnly).toBe(524);
    same(errors, (name) => name);
  });

  it("have our program types and the contexts that go with them", () => {
    same({ ...ProgramType }, (name) => `BPF_PROG_TYPE_${upper(name)}`);
    for (const [type, struct] of [
      [ProgramType.schedCls, "__sk_buff"],
      [ProgramType.xdp, "xdp_md"],
    ] as const) {
      const layout = contextLayout(type);
      const names = layout.fields.map(({ name }) => name);
      same(
        Object.fromEntries(layout.fields.map(({ name, offset }) => [name, offset])),
        (name) => `offsetof(struct ${struct}, ${name})`,
      );
      same(
        Object.fromEntries(layout.fields.map(({ name, size }) => [name, size])),
        (name) => `sizeof(((struct ${struct} *)0)->${name})`,
      );
      const sizes = evaluate({ size: `sizeof(struct ${struct})` });
      // hwtstamp came behind the fields that are emulated
      expect(layout.sizeBytes).toBeLessThanOrEqual(sizes["size"] ?? 0);
      expect(new Set(names).size).toBe(names.length);
    }
  });

  it("have our helpers under their numbers", () => {
    same(
      Object.fromEntries([...signatures].map(([id, { name }]) => [name, id])),
      (name) => `BPF_FUNC_${name}`,
    );
  });

  it("have our return codes", () => {
    const codes = evaluate({
      ok: "TC_ACT_OK",
      shot: "TC_ACT_SHOT",
      stolen: "TC_ACT_STOLEN",
      redirect: "TC_ACT_REDIRECT",
      trap: "TC_ACT_TRAP",
      unspec: "TC_ACT_UNSPEC",
      aborted: "XDP_ABORTED",
      drop: "XDP_DROP",
      pass: "XDP_PASS",
      tx: "XDP_TX",
      xdpRedirect: "XDP_REDIRECT",
    });
    const tc = (name: string): string => outcomeOf("tc", codes[name] ?? 99);
    expect([tc("ok"), tc("shot"), tc("stolen"), tc("redirect"), tc("trap"), tc("unspec")]).toEqual([
      "pass",
      "drop",
      "stolen",
      "redirect",
      "stolen",
      "next",
    ]);
    const xdp = (name: string): string => outcomeOf("xdp", codes[name] ?? 99);
    expect([xdp("aborted"), xdp("drop"), xdp("pass"), xdp("tx"), xdp("xdpRedirect")]).toEqual([
      "drop",
      "drop",
      "pass",
      "stolen",
      "redirect",
    ]);
  });
});
