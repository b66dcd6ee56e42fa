/*
 * Packets into a network namespace, fates out: the part of the kernel judge that touches devices.
 *
 * Runs inside the namespace under test (`unshare --net injector DEVICE...`), makes one TUN device for each argument, and
 * serves frames on standard input, strictly in order: a packet goes in, every output that it caused is collected, then
 * the next. The kernel handles a packet written to a TUN device within the write itself, so that outputs are there when
 * it returns. Ends with its standard input, and the namespace ends with it: nothing is left behind after a crash.
 *
 * Request   u16 device (its place among the arguments; 0xffff = sent from inside by a raw socket), u16 length, packet.
 *           Device 0xfffe: `length` bytes hold u32 rounds and a request to repeat; answers u32 nanoseconds per packet.
 * Answer    u16 number of outputs; each: u16 kind (1 left by a device, 2 delivered to the node), u16 length,
 *           u32 interface number, u32 mark, packet.
 * First     u32 interface number of each device, once all of them transmit (argument count x u32).
 *
 * Outputs are seen by one packet socket (everything that leaves, with its mark: SO_RCVMARK) and by NFLOG group 7 (what
 * the judge's own rule at the very end of INPUT saw). Multi-byte fields are in host order.
 * Sources: Documentation/networking/tuntap.rst, packet(7), include/uapi/linux/netfilter/nfnetlink_log.h.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_log.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#ifndef SO_RCVMARK
#define SO_RCVMARK 75
#endif

enum { devices_max = 64, packet_max = 65535, log_group = 7, from_inside = 0xffff, repeat = 0xfffe };

static int device_fd[devices_max], device_count;
static uint32_t device_ifindex[devices_max];
static int tap_fd, log_fd, raw4_fd, raw6_fd;
static char log_buffer[1 << 17];

static void fail(const char *what) {
    perror(what);
    exit(1);
}

/* ---- answers, buffered ---- */

static uint8_t out[1 << 20];
static size_t out_used;

static void flush_answers(void) {
    for (size_t at = 0; at < out_used;) {
        ssize_t n = write(1, out + at, out_used - at);
        if (n < 0) fail("write answers");
        at += n;
    }
    out_used = 0;
}

static void put(const void *data, size_t size) {
    if (out_used + size > sizeof out) flush_answers();
    memcpy(out + out_used, data, size);
    out_used += size;
}

/* Outputs of the packet under way; put behind their number when it is done. */
static uint8_t events[1 << 21];
static size_t events_used;
static uint16_t event_count;

static void add_event(uint16_t kind, uint32_t ifindex, uint32_t mark, const uint8_t *packet, size_t length) {
    if (length > packet_max || events_used + 12 + length > sizeof events) return;
    uint8_t *to = events + events_used;
    uint16_t size = length;
    memcpy(to, &kind, 2);
    memcpy(to + 2, &size, 2);
    memcpy(to + 4, &ifindex, 4);
    memcpy(to + 8, &mark, 4);
    memcpy(to + 12, packet, length);
    events_used += 12 + length;
    event_count++;
}

/* ---- sockets that watch ---- */

static int open_tap(void) {
    int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK, htons(ETH_P_ALL));
    if (fd < 0) fail("packet socket");
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, SKF_AD_OFF + SKF_AD_PKTTYPE),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PACKET_OUTGOING, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, 0x40000),
        BPF_STMT(BPF_RET | BPF_K, 0),
    };
    struct sock_fprog program = {4, code};
    int on = 1, size = 8 << 20;
    if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) < 0) fail("SO_ATTACH_FILTER");
    if (setsockopt(fd, SOL_SOCKET, SO_RCVMARK, &on, sizeof on) < 0) fail("SO_RCVMARK");
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
    return fd;
}

static void log_config(int fd, uint16_t type, const void *data, uint16_t size) {
    struct {
        struct nlmsghdr header;
        struct nfgenmsg general;
        struct nlattr attribute;
        uint8_t data[16];
    } message = {0};
    message.header.nlmsg_len = NLMSG_LENGTH(sizeof(struct nfgenmsg)) + NLMSG_ALIGN(sizeof(struct nlattr) + size);
    message.header.nlmsg_type = NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_CONFIG;
    message.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
    message.general.res_id = htons(log_group);
    message.attribute.nla_len = sizeof(struct nlattr) + size;
    message.attribute.nla_type = type;
    memcpy(message.data, data, size);
    if (send(fd, &message, message.header.nlmsg_len, 0) < 0) fail("NFLOG config");
    ssize_t n = recv(fd, log_buffer, sizeof log_buffer, 0);
    struct nlmsghdr *answer = (struct nlmsghdr *)log_buffer;
    if (n < 0 || answer->nlmsg_type != NLMSG_ERROR || ((struct nlmsgerr *)NLMSG_DATA(answer))->error != 0)
        fail("NFLOG refused");
}

static int open_log(void) {
    int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER);
    if (fd < 0) fail("netlink socket");
    struct nfulnl_msg_config_cmd bind = {NFULNL_CFG_CMD_BIND};
    struct nfulnl_msg_config_mode mode = {htonl(packet_max), NFULNL_COPY_PACKET, 0};
    uint32_t threshold = htonl(1);
    log_config(fd, NFULA_CFG_CMD, &bind, sizeof bind);
    log_config(fd, NFULA_CFG_MODE, &mode, sizeof mode);
    log_config(fd, NFULA_CFG_QTHRESH, &threshold, sizeof threshold);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

/* ---- devices ---- */

static int open_device(const char *name, uint32_t *ifindex) {
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
    if (fd < 0) fail("/dev/net/tun");
    struct ifreq request = {0};
    request.ifr_flags = IFF_TUN | IFF_NO_PI;
    strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    if (ioctl(fd, TUNSETIFF, &request) < 0) fail(name);
    *ifindex = if_nametoindex(name);
    return fd;
}

static void set_up(const char *name) {
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct ifreq request = {0};
    strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    request.ifr_flags = IFF_UP;
    if (ioctl(fd, SIOCSIFFLAGS, &request) < 0) fail("SIOCSIFFLAGS");
    close(fd);
}

/* A device drops what it should send until the kernel's link watch has activated its queue: wait for a canary. */
static void await_device(int i) {
    int fd = socket(AF_PACKET, SOCK_DGRAM, 0);
    uint8_t canary[28] = {0x45, 0, 0, 28, 0, 0, 0, 0, 1, 17}, seen[64];
    struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP), .sll_ifindex = device_ifindex[i]};
    for (int attempt = 0; attempt < 5000; attempt++) {
        sendto(fd, canary, sizeof canary, 0, (struct sockaddr *)&to, sizeof to);
        struct sockaddr_ll from;
        socklen_t size = sizeof from;
        while (recvfrom(tap_fd, seen, sizeof seen, 0, (struct sockaddr *)&from, &size) >= 0)
            if ((uint32_t)from.sll_ifindex == device_ifindex[i]) {
                close(fd);
                return;
            }
        usleep(1000);
    }
    errno = ETIMEDOUT;
    fail("device does not transmit");
}

/* ---- outputs ---- */

/* Listener reports and router solicitations that the node's own IPv6 stack sends when a device comes up. */
static int is_own_chatter(const uint8_t *packet, ssize_t length) {
    static const uint8_t routers[16] = {0xff, 2, [15] = 2}, reports[16] = {0xff, 2, [15] = 0x16};
    if (length < 40 || packet[0] >> 4 != 6) return 0;
    return memcmp(packet + 24, routers, 16) == 0 || memcmp(packet + 24, reports, 16) == 0;
}

static void collect_tap(void) {
    static uint8_t packet[packet_max + 1];
    for (;;) {
        char control[64];
        struct sockaddr_ll from;
        struct iovec part = {packet, sizeof packet};
        struct msghdr message = {&from, sizeof from, &part, 1, control, sizeof control, 0};
        ssize_t n = recvmsg(tap_fd, &message, 0);
        if (n < 0) return;
        uint32_t mark = 0;
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c))
            if (c->cmsg_level == SOL_SOCKET && (c->cmsg_type == SO_MARK || c->cmsg_type == SO_RCVMARK))
                memcpy(&mark, CMSG_DATA(c), 4);
        if (!is_own_chatter(packet, n)) add_event(1, from.sll_ifindex, mark, packet, n);
        for (int i = 0; i < device_count; i++) /* empty the device's queue */
            if (device_ifindex[i] == (uint32_t)from.sll_ifindex)
                while (read(device_fd[i], packet, sizeof packet) > 0) {}
    }
}

static void collect_log(void) {
    for (;;) {
        ssize_t n = recv(log_fd, log_buffer, sizeof log_buffer, 0);
        if (n < 0) return;
        struct nlmsghdr *header = (struct nlmsghdr *)log_buffer;
        for (; NLMSG_OK(header, n); header = NLMSG_NEXT(header, n)) {
            if (header->nlmsg_type != (NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_PACKET)) continue;
            uint32_t mark = 0, ifindex = 0;
            const uint8_t *packet = NULL;
            size_t length = 0;
            uint8_t *at = (uint8_t *)NLMSG_DATA(header) + sizeof(struct nfgenmsg);
            uint8_t *end = (uint8_t *)header + header->nlmsg_len;
            while (at + sizeof(struct nlattr) <= end) {
                struct nlattr *attribute = (struct nlattr *)at;
                if (attribute->nla_len < sizeof *attribute) break;
                uint32_t value = 0;
                if (attribute->nla_len >= sizeof *attribute + 4) memcpy(&value, attribute + 1, 4);
                switch (attribute->nla_type & NLA_TYPE_MASK) {
                case NFULA_MARK: mark = ntohl(value); break;
                case NFULA_IFINDEX_INDEV: ifindex = ntohl(value); break;
                case NFULA_PAYLOAD:
                    packet = (uint8_t *)(attribute + 1);
                    length = attribute->nla_len - sizeof *attribute;
                    break;
                }
                at += NLA_ALIGN(attribute->nla_len);
            }
            if (packet) add_event(2, ifindex, mark, packet, length);
        }
    }
}

/* ---- inputs ---- */

static void send_from_inside(const uint8_t *packet, size_t length) {
    if (length >= 20 && packet[0] >> 4 == 4) {
        struct sockaddr_in to = {.sin_family = AF_INET};
        memcpy(&to.sin_addr, packet + 16, 4);
        sendto(raw4_fd, packet, length, 0, (struct sockaddr *)&to, sizeof to);
    } else if (length >= 40 && packet[0] >> 4 == 6) {
        struct sockaddr_in6 to = {.sin6_family = AF_INET6};
        memcpy(&to.sin6_addr, packet + 24, 16);
        sendto(raw6_fd, packet, length, 0, (struct sockaddr *)&to, sizeof to);
    }
}

static void inject(uint16_t device, const uint8_t *packet, uint16_t length) {
    events_used = event_count = 0;
    if (device == from_inside) send_from_inside(packet, length);
    else if (device < device_count && write(device_fd[device], packet, length) < 0 && errno != EINVAL) fail("write to device");
    collect_tap();
    collect_log();
}

static void measure(const uint8_t *request, uint16_t length) {
    uint32_t rounds, cost;
    uint16_t device;
    if (length < 8) return;
    memcpy(&rounds, request, 4);
    memcpy(&device, request + 4, 2);
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (uint32_t i = 0; i < rounds; i++) inject(device, request + 8, length - 8);
    clock_gettime(CLOCK_MONOTONIC, &end);
    cost = ((end.tv_sec - start.tv_sec) * 1e9 + (end.tv_nsec - start.tv_nsec)) / (rounds ? rounds : 1);
    put(&cost, 4);
}

int main(int argc, char **argv) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (argc - 1 > devices_max) return fprintf(stderr, "at most %d devices\n", devices_max), 1;
    tap_fd = open_tap();
    log_fd = open_log();
    raw4_fd = socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
    raw6_fd = socket(AF_INET6, SOCK_RAW, IPPROTO_RAW);
    if (raw4_fd < 0 || raw6_fd < 0) fail("raw socket");
    set_up("lo");
    for (device_count = 0; device_count < argc - 1; device_count++) {
        device_fd[device_count] = open_device(argv[device_count + 1], &device_ifindex[device_count]);
        set_up(argv[device_count + 1]);
    }
    for (int i = 0; i < device_count; i++) await_device(i);
    for (int i = 0; i < device_count; i++) put(&device_ifindex[i], 4);
    flush_answers();
    collect_tap();

    static uint8_t in[1 << 20];
    size_t used = 0;
    for (;;) {
        ssize_t n = read(0, in + used, sizeof in - used);
        if (n <= 0) return 0;
        used += n;
        size_t at = 0;
        while (used - at >= 4) {
            uint16_t device, length;
            memcpy(&device, in + at, 2);
            memcpy(&length, in + at + 2, 2);
            if (used - at - 4 < length) break;
            if (device == repeat) measure(in + at + 4, length);
            else {
                inject(device, in + at + 4, length);
                put(&event_count, 2);
                put(events, events_used);
            }
            at += 4 + length;
        }
        memmove(in, in + at, used - at);
        used -= at;
        flush_answers();
    }
}
