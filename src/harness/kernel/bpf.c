/*
 * BPF programs and maps in the running kernel: the part of the BPF judge that makes bpf(2) calls.
 *
 * Serves requests on standard input, one after another, each answered on standard output. All fields are in host order.
 * Maps and programs are known by the number of their making, from 0; everything ends with the process.
 *
 * Request   u32 length of what follows, u8 operation, fields
 * Answer    u32 length of what follows, i32 status (a number, or -errno), data
 *
 *   1 map      u32 type, key size, value size, entries, flags, i32 inner map (-1: none)
 *   2 update   u32 map, u32 flags, key, value; a value of a map of maps or program array is a number as above
 *   3 lookup   u32 map, key                       -> value
 *   4 delete   u32 map, key
 *   5 program  u32 type, u32 log size, instructions (64-bit loads of kinds 1 and 2 name maps by number) -> verifier's log
 *   6 run      u32 program, u32 repeat, u32 context size, context, packet
 *              -> status 0: u32 return value, u32 ns a run, u32 context size, context, packet
 *   7 dump     u32 map                            -> key, value, key, value...
 *   8 forget   closes all maps and programs
 *   9 classic  u32 instruction count, classic instructions, data
 *              -> status: bytes of the data that a socket with this filter received, -1: none
 *
 * The process stays on one processor, whose value is the one used of per-CPU maps.
 * Sources: bpf(2), include/uapi/linux/bpf.h.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/bpf.h>
#include <linux/filter.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { objects_max = 4096, request_max = 1 << 24, log_max = 1 << 20, packet_max = 1 << 17 };

struct map {
    int fd;
    uint32_t type, key, value, entries;
};
static struct map maps[objects_max];
static int programs[objects_max];
static uint32_t map_count, program_count, cpu_count;

static uint8_t request[request_max], answer[request_max];
static size_t request_size, request_at, answer_size;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void read_fully(void *into, size_t size) {
    for (size_t at = 0; at < size;) {
        ssize_t n = read(0, (uint8_t *)into + at, size - at);
        if (n == 0 && at == 0) exit(0);
        if (n <= 0) fail("read request");
        at += n;
    }
}

static const uint8_t *take(size_t size) {
    if (request_at + size > request_size) {
        fprintf(stderr, "request too short\n");
        exit(1);
    }
    request_at += size;
    return request + request_at - size;
}

static uint32_t take32(void) {
    uint32_t value;
    memcpy(&value, take(4), 4);
    return value;
}

static void put(const void *data, size_t size) {
    if (answer_size + size > sizeof answer) {
        fprintf(stderr, "answer too long\n");
        exit(1);
    }
    memcpy(answer + answer_size, data, size);
    answer_size += size;
}

static void put32(uint32_t value) { put(&value, 4); }

static void set_status(int32_t status) { memcpy(answer + 4, &status, 4); }

static int call(int command, union bpf_attr *attr) {
    int result = syscall(__NR_bpf, command, attr, sizeof *attr);
    return result < 0 ? -errno : result;
}

static struct map *take_map(void) {
    uint32_t number = take32();
    if (number >= map_count) {
        fprintf(stderr, "no map %u\n", number);
        exit(1);
    }
    return &maps[number];
}

static int is_percpu(const struct map *map) {
    return map->type == BPF_MAP_TYPE_PERCPU_HASH || map->type == BPF_MAP_TYPE_PERCPU_ARRAY ||
           map->type == BPF_MAP_TYPE_LRU_PERCPU_HASH;
}

static size_t stride(const struct map *map) { return (map->value + 7) & ~(size_t)7; }

static uint8_t *user_value(const struct map *map) {
    static uint8_t *buffer;
    static size_t size;
    size_t wanted = is_percpu(map) ? stride(map) * cpu_count : map->value;
    if (wanted > size) buffer = realloc(buffer, size = wanted);
    if (buffer == NULL && wanted > 0) fail("realloc");
    return buffer;
}

static void make_map(void) {
    union bpf_attr attr = {0};
    struct map map = {.type = take32(), .key = take32(), .value = take32(), .entries = take32()};
    attr.map_type = map.type;
    attr.key_size = map.key;
    attr.value_size = map.value;
    attr.max_entries = map.entries;
    attr.map_flags = take32();
    int32_t inner = (int32_t)take32();
    if (inner >= 0) attr.inner_map_fd = maps[inner].fd;
    map.fd = call(BPF_MAP_CREATE, &attr);
    if (map.fd < 0 || map_count == objects_max) {
        set_status(map.fd);
        return;
    }
    maps[map_count] = map;
    set_status(map_count++);
}

/* Values that name maps or programs by number become file descriptors. */
static void resolve_value(const struct map *map, uint8_t *value) {
    uint32_t number;
    memcpy(&number, value, 4);
    int fd;
    if (map->type == BPF_MAP_TYPE_ARRAY_OF_MAPS || map->type == BPF_MAP_TYPE_HASH_OF_MAPS)
        fd = number < map_count ? maps[number].fd : -1;
    else if (map->type == BPF_MAP_TYPE_PROG_ARRAY)
        fd = number < program_count ? programs[number] : -1;
    else
        return;
    memcpy(value, &fd, 4);
}

static void update(void) {
    struct map *map = take_map();
    union bpf_attr attr = {.map_fd = map->fd, .flags = take32()};
    attr.key = (uintptr_t)take(map->key);
    uint8_t *value = user_value(map);
    memcpy(value, take(map->value), map->value);
    if (is_percpu(map))
        for (uint32_t cpu = 1; cpu < cpu_count; cpu++) memcpy(value + cpu * stride(map), value, map->value);
    resolve_value(map, value);
    attr.value = (uintptr_t)value;
    set_status(call(BPF_MAP_UPDATE_ELEM, &attr));
}

static int lookup_into(const struct map *map, const uint8_t *key) {
    union bpf_attr attr = {.map_fd = map->fd};
    attr.key = (uintptr_t)key;
    uint8_t *value = user_value(map);
    attr.value = (uintptr_t)value;
    int status = call(BPF_MAP_LOOKUP_ELEM, &attr);
    if (status == 0) put(value, map->value);
    return status;
}

static void lookup(void) {
    struct map *map = take_map();
    set_status(lookup_into(map, take(map->key)));
}

static void delete(void) {
    struct map *map = take_map();
    union bpf_attr attr = {.map_fd = map->fd};
    attr.key = (uintptr_t)take(map->key);
    set_status(call(BPF_MAP_DELETE_ELEM, &attr));
}

static void load_program(void) {
    static char log[log_max];
    union bpf_attr attr = {0};
    attr.prog_type = take32();
    uint32_t log_size = take32();
    size_t bytes = request_size - request_at;
    struct bpf_insn *insns = (struct bpf_insn *)take(bytes);
    attr.insn_cnt = bytes / sizeof *insns;
    for (uint32_t i = 0; i < attr.insn_cnt; i++)
        if (insns[i].code == (BPF_LD | BPF_DW | BPF_IMM) &&
            (insns[i].src_reg == BPF_PSEUDO_MAP_FD || insns[i].src_reg == BPF_PSEUDO_MAP_VALUE))
            insns[i].imm = (uint32_t)insns[i].imm < map_count ? maps[insns[i].imm].fd : -1;
    attr.insns = (uintptr_t)insns;
    attr.license = (uintptr_t) "GPL";
    int fd = call(BPF_PROG_LOAD, &attr);
    if (fd < 0 && log_size > 0) { /* once more, for its reasons */
        log[0] = 0;
        attr.log_level = 1;
        attr.log_buf = (uintptr_t)log;
        attr.log_size = log_size < log_max ? log_size : log_max;
        call(BPF_PROG_LOAD, &attr);
        put(log, strnlen(log, attr.log_size));
    }
    if (fd < 0 || program_count == objects_max) {
        set_status(fd);
        return;
    }
    programs[program_count] = fd;
    set_status(program_count++);
}

static void run(void) {
    static uint8_t packet[packet_max], context[1024];
    union bpf_attr attr = {0};
    uint32_t number = take32();
    attr.test.prog_fd = number < program_count ? programs[number] : -1;
    attr.test.repeat = take32();
    attr.test.ctx_size_in = take32();
    attr.test.ctx_in = (uintptr_t)take(attr.test.ctx_size_in);
    if (attr.test.ctx_size_in > 0) {
        attr.test.ctx_out = (uintptr_t)context;
        attr.test.ctx_size_out = sizeof context;
    } else
        attr.test.ctx_in = 0;
    attr.test.data_size_in = request_size - request_at;
    attr.test.data_in = (uintptr_t)take(attr.test.data_size_in);
    attr.test.data_out = (uintptr_t)packet;
    attr.test.data_size_out = sizeof packet;
    int status = call(BPF_PROG_TEST_RUN, &attr);
    set_status(status);
    if (status < 0) return;
    put32(attr.test.retval);
    put32(attr.test.duration);
    put32(attr.test.ctx_size_in > 0 ? attr.test.ctx_size_out : 0);
    if (attr.test.ctx_size_in > 0) put(context, attr.test.ctx_size_out);
    put(packet, attr.test.data_size_out);
}

static void dump(void) {
    struct map *map = take_map();
    uint8_t *key = malloc(map->key), *next = malloc(map->key);
    if (key == NULL || next == NULL) fail("malloc");
    union bpf_attr attr = {.map_fd = map->fd};
    attr.next_key = (uintptr_t)next;
    while (call(BPF_MAP_GET_NEXT_KEY, &attr) == 0) {
        size_t before = answer_size;
        put(next, map->key);
        if (lookup_into(map, next) < 0) answer_size = before;
        memcpy(key, next, map->key);
        attr.key = (uintptr_t)key;
    }
    free(key);
    free(next);
}

static void forget(void) {
    while (program_count > 0) close(programs[--program_count]);
    while (map_count > 0) close(maps[--map_count].fd);
}

/* A datagram between two sockets of this process: the filter sees its data and says how much of it arrives. */
static void classic(void) {
    int pair[2];
    uint32_t count = take32();
    struct sock_fprog filter = {.len = count, .filter = (struct sock_filter *)take(count * sizeof(struct sock_filter))};
    size_t size = request_size - request_at;
    const uint8_t *data = take(size);
    if (socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) < 0) fail("socketpair");
    if (setsockopt(pair[1], SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter) < 0)
        set_status(-errno - 1000);
    else {
        static uint8_t received[packet_max];
        ssize_t sent = send(pair[0], data, size, MSG_DONTWAIT);
        ssize_t n = recv(pair[1], received, sizeof received, MSG_DONTWAIT);
        set_status(n >= 0 && sent >= 0 ? n : -1);
    }
    close(pair[0]);
    close(pair[1]);
}

int main(void) {
    struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
    setrlimit(RLIMIT_MEMLOCK, &unlimited);
    cpu_count = sysconf(_SC_NPROCESSORS_CONF);
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET(0, &cpus);
    sched_setaffinity(0, sizeof cpus, &cpus);
    for (;;) {
        uint32_t size;
        read_fully(&size, 4);
        if (size == 0 || size > sizeof request) fail("request size");
        read_fully(request, size);
        request_size = size;
        request_at = 1;
        answer_size = 8;
        set_status(0);
        switch (request[0]) {
        case 1: make_map(); break;
        case 2: update(); break;
        case 3: lookup(); break;
        case 4: delete(); break;
        case 5: load_program(); break;
        case 6: run(); break;
        case 7: dump(); break;
        case 8: forget(); break;
        case 9: classic(); break;
        default: fprintf(stderr, "no operation %d\n", request[0]); return 1;
        }
        uint32_t length = answer_size - 4;
        memcpy(answer, &length, 4);
        for (size_t at = 0; at < answer_size;) {
            ssize_t n = write(1, answer + at, answer_size - at);
            if (n < 0) fail("write answer");
            at += n;
        }
    }
}
