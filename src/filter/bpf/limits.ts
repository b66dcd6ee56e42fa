/** Limits of running programs (include/linux/bpf.h, include/linux/filter.h): MAX_BPF_STACK, MAX_CALL_FRAMES, MAX_TAIL_CALL_CNT. */
export const stackBytes = 512;
export const framesMax = 8;
export const tailCallsMax = 33;
