/** Ctrl-C stops a command cleanly and keeps what is finished; a closed pipe ends it quietly. */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { commandFile, folderWith } from "./installed.ts";

const cwd = folderWith("interrupt", {});

interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Sends SIGINT when standard output shows that work is going on. */
function interrupted(args: readonly string[], isWorking: (stdout: string) => boolean): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [commandFile(), ...args], {
      cwd,
      stdio: ["ignore", "pipe", "pipe"],
    });
    let [stdout, stderr, isSent] = ["", "", false];
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      stdout += text;
      if (isSent || !isWorking(stdout)) return;
      isSent = true;
      child.kill("SIGINT");
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      stderr += text;
    });
    child.on("error", reject);
    child.on("close", (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
}

describe("Ctrl-C", () => {
  it("keeps the scenarios that have run", async () => {
    const scenarios = join(import.meta.dirname, "../../scenarios");
    // live text shows when the first is done; the whole takes seconds
    const { code, stdout, stderr } = await interrupted(
      ["run", scenarios, scenarios, scenarios, scenarios, scenarios],
      (text) => text.split("\n").length > 3,
    );
    expect(code).toBe(130);
    const ran = stdout.match(/^ok /gm)?.length ?? 0;
    expect(stdout).toMatch(new RegExp(`\n${ran} passed, 0 failed\n$`));
    expect(stderr).toMatch(new RegExp(`^podwire: stopped after ${ran} of \\d+ runs\n$`));
  });
});

describe("a reader that has seen enough", () => {
  it("ends the command without a word", async () => {
    const ended = await new Promise<Ended>((resolve, reject) => {
      const child = spawn(process.execPath, [commandFile(), "schema"], {
        cwd,
        stdio: ["ignore", "pipe", "pipe"],
      });
      let stderr = "";
      child.stderr.setEncoding("utf8").on("data", (text: string) => {
        stderr += text;
      });
      child.stdout.destroy();
      child.on("error", reject);
      child.on("close", (code, signal) => resolve({ code, signal, stdout: "", stderr }));
    });
    expect(ended).toMatchObject({ code: 0, stderr: "" });
  });
});
