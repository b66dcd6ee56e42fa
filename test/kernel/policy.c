/* A small policy program: sources known by an LPM map of prefixes, decisions by a hash map of (identity, port, protocol). */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct prefix {
    __u32 length;
    __u32 address;
};
struct {
    __uint(type, BPF_MAP_TYPE_LPM_TRIE);
    __uint(max_entries, 1024);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, struct prefix);
    __type(value, __u32);
} identities SEC(".maps");

struct rule {
    __u32 identity;
    __be16 port;
    __u8 protocol;
    __u8 zero;
};
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 4096);
    __type(key, struct rule);
    __type(value, __u32);
} policy SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 4);
    __type(key, __u32);
    __type(value, __u64);
} counters SEC(".maps");

const volatile __u32 identity_of_world = 2;
static __u64 seen;

static __noinline void count(__u32 index) {
    __u64 *counter = bpf_map_lookup_elem(&counters, &index);
    if (counter) (*counter)++;
}

static __always_inline int decide(struct iphdr *ip, __be16 port) {
    struct prefix source = {32, ip->saddr};
    __u32 *identity = bpf_map_lookup_elem(&identities, &source);
    struct rule rule = {identity ? *identity : identity_of_world, port, ip->protocol, 0};
    __u32 *verdict = bpf_map_lookup_elem(&policy, &rule);
    if (!verdict) {
        rule.port = 0; /* any port of the protocol */
        verdict = bpf_map_lookup_elem(&policy, &rule);
    }
    return verdict && *verdict ? TC_ACT_OK : TC_ACT_SHOT;
}

SEC("tc/entry")
int entry(struct __sk_buff *skb) {
    void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
    struct ethhdr *eth = data;
    struct iphdr *ip = (void *)(eth + 1);
    seen++;
    if ((void *)(ip + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP)) {
        count(0);
        return TC_ACT_OK;
    }
    __be16 ports[2] = {0, 0};
    __u32 header = ip->ihl * 4;
    int has_ports = ip->protocol == IPPROTO_TCP || ip->protocol == IPPROTO_UDP || ip->protocol == IPPROTO_SCTP;
    if (has_ports && bpf_skb_load_bytes(skb, ETH_HLEN + header, ports, sizeof ports) < 0) {
        count(1);
        return TC_ACT_SHOT;
    }
    int verdict = decide(ip, ports[1]);
    skb->mark = verdict == TC_ACT_OK ? 0x100 : 0x200;
    count(verdict == TC_ACT_OK ? 2 : 3);
    return verdict;
}

char policy_license[] SEC("license") = "GPL";
