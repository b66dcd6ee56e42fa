/** What a target consists of: `read` (options of iptables-save text to data) and `text` (data to iptables-save text). */
import { type OptionShape, OptionValues, type RuleContext } from "../matches/index.ts";
import type { TableName } from "../ruleset.ts";
import type { Target, TargetOf } from "../target.ts";

export interface TargetReader {
  readonly options: Readonly<Record<string, OptionShape>>;
  /** `undefined`: in any table. */
  readonly tables?: readonly TableName[];
  readonly families?: readonly (4 | 6)[];
  /** Protocols of which `-p` must name one. */
  readonly protocols?: readonly number[];
  /** Of the built-in chains, only these. */
  readonly chains?: readonly string[];
  read(options: OptionValues, rule: RuleContext): Target;
}

export type TargetTexts<K extends Target["kind"]> = {
  readonly [P in K]: (target: TargetOf<P>, family: 4 | 6) => string;
};

export { OptionValues, type RuleContext };
