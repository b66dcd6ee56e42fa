/** Limits of running programs (include/linux/bpf.h, include/linux/filter.h): MAX_BPF_STACK, MAX_CALL_FRAMES, MAX_TAIL_CALL_CNT. */
export const stackBytes = 512;
export const framesMax = 8;
export const tailCallsMax = 33;

/** The verifier's own limit (BPF_COMPLEXITY_LIMIT_INSNS). */
export const defaultFuel = 1_000_000;
/** The longest key of a map (MAX_BPF_STACK again: keys come from there). */
export const keyBytesMax = 512;
