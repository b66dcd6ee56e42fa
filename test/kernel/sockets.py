"""Real sockets for tests, run inside a namespace: `serve` until standard input ends, `connect` once, `raw` packets."""
import json, os, socket, sys, threading

def echo_stream(connection):
    with connection:
        while data := connection.recv(4096):
            connection.sendall(data)

def serve_tcp(port):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("0.0.0.0", port))
    listener.listen(64)
    def loop():
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=echo_stream, args=(connection,), daemon=True).start()
    threading.Thread(target=loop, daemon=True).start()

def serve_udp(address, port):
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((address, port))  # answers come from the address that was asked
    def loop():
        while True:
            data, peer = server.recvfrom(4096)
            server.sendto(data, peer)
    threading.Thread(target=loop, daemon=True).start()

def attempt(protocol, address, port, timeout):
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    try:
        with socket.socket(socket.AF_INET, kind) as client:
            client.settimeout(timeout)
            client.connect((address, port))
            # what is said tells conversations apart in captures, whatever NAT makes of their ends
            words = f"{os.getpid()} to {address} {port} ".encode()
            for message in (words, words * 30):
                client.send(message)
                heard = b""
                while len(heard) < len(message):
                    data = client.recv(4096)
                    if not data:
                        return "closed"
                    heard += data
            return "connected"
    except ConnectionRefusedError:
        return "refused"
    except TimeoutError:
        return "timeout"

def connect(attempts, timeout):
    results = [None] * len(attempts)
    def one(i):
        results[i] = attempt(*attempts[i], timeout)
    threads = [threading.Thread(target=one, args=(i,)) for i in range(len(attempts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps(results))

def raw(packets):
    sender = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    for packet in map(bytes.fromhex, packets):
        sender.sendto(packet, (socket.inet_ntoa(packet[16:20]), 0))

order = json.loads(sys.argv[2])
if sys.argv[1] == "serve":
    for port in order["tcp"]:
        serve_tcp(port)
    for port in order["udp"]:
        for address in order["addresses"]:
            serve_udp(address, port)
    print("ready", flush=True)
    sys.stdin.read()
elif sys.argv[1] == "connect":
    connect(order["attempts"], order["timeout"])
else:
    raw(order["packets"])
