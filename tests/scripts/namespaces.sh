#!/usr/bin/env bash
# One coordinator and three workers in network namespaces of their own: each worker reaches the coordinator and nothing
# else, over TLS, by the line that the coordinator prints; the workers share no state directory, so map outputs are
# relayed. Then the same with a worker killed, the coordinator killed and restarted, links that are cut, that lose one
# direction, that flap, and that heal, and a worker drained.
#
#   tests/scripts/namespaces.sh BINARY INPUT...      (as root; needs iproute2)
#   ROUNDS=100 tests/scripts/namespaces.sh …         the long form: three faults of the network in each round
#
# BINARY is target/*/gristmill-under-test (the gristmill command with paced-word-count). Prints the events that prove what
# happened and the sha256 of each output.
set -euo pipefail
binary=$(realpath "$1"); shift
inputs=("$@")
dir=$(mktemp -d /tmp/gristmill-netns-XXXXXX)
prefix="gm$$"
pids=()
cleanup() {
    for pid in "${pids[@]}"; do kill -9 "$pid" 2>/dev/null || true; done
    for name in c w1 w2 w3; do ip netns del "$prefix$name" 2>/dev/null || true; done
    rm -rf "$dir"
}
trap cleanup EXIT

# The coordinator's namespace has one link to each worker's; nothing forwards between them.
ip netns add "${prefix}c"
ip -n "${prefix}c" link set lo up
for i in 1 2 3; do
    ip netns add "${prefix}w$i"
    ip -n "${prefix}w$i" link set lo up
    ip link add "${prefix}a$i" netns "${prefix}c" type veth peer name "${prefix}b$i" netns "${prefix}w$i"
    ip -n "${prefix}c" addr add "10.77.$i.1/24" dev "${prefix}a$i"
    ip -n "${prefix}w$i" addr add "10.77.$i.2/24" dev "${prefix}b$i"
    ip -n "${prefix}c" link set "${prefix}a$i" up
    ip -n "${prefix}w$i" link set "${prefix}b$i" up
    # All workers use one address of the coordinator's.
    ip -n "${prefix}w$i" route add 10.77.0.1/32 via "10.77.$i.1"
done
ip -n "${prefix}c" addr add 10.77.0.1/32 dev lo

export XDG_STATE_HOME="$dir/xdg" HOME="$dir"
coordinator() {
    ip netns exec "${prefix}c" "$binary" coordinator --listen 0.0.0.0:4750 --public-url https://10.77.0.1:4750 \
        --data-dir "$dir/data" --lease-ms 3000 >>"$dir/coordinator.log" 2>&1 &
    coordinator_pid=$!; pids+=("$coordinator_pid")
    for _ in $(seq 100); do
        user worker ls >/dev/null 2>&1 && return
        sleep 0.1
    done
    cat "$dir/coordinator.log"; exit 1
}
worker() {
    ip netns exec "${prefix}w$1" "$binary" worker --join "$join" --slots 1 --state-dir "$dir/state$1" >>"$dir/worker$1.log" 2>&1 &
    worker_pid[$1]=$!; pids+=("$!")
}
user() { GRISTMILL_URL=https://127.0.0.1:4750 ip netns exec "${prefix}c" "$binary" "$@"; }
hash_of() { user output "$1" | sha256sum | cut -d' ' -f1; }
kinds() { user job events "$1" --format jsonl | grep -o '"kind":"[a-z_]*"' | sort | uniq -c | tr -d '"' | awk '{print "  " $2, $1}'; }
won() { user job show "$1" --format json | grep -m1 '"won"' | tr -dc 0-9; }

declare -A worker_pid
coordinator
join=$(grep -o "https://[^']*" "$dir/coordinator.log" | grep '#' | head -1)
for i in 1 2 3; do worker "$i"; done
sleep 1
user worker ls
for i in 1 2 3; do
    echo "worker $i listens on: $(ip netns exec "${prefix}w$i" ss -H -ltn | wc -l) ports"
done
if ip netns exec "${prefix}w1" timeout 2 bash -c "echo > /dev/tcp/10.77.2.2/4750" 2>/dev/null; then
    echo "worker 1 reaches worker 2: the namespaces are not separate"; exit 1
fi

echo "== undisturbed"
undisturbed=$(user submit word-count "${inputs[@]}" --quiet | sha256sum | cut -d' ' -f1)
echo "$undisturbed"

echo "== paced, with faults"
job=$(user submit paced-word-count -a 1500 "${inputs[@]}" --split-bytes 100000 --partitions 6 --detach)
start=$SECONDS
until [ "$(won "$job")" -ge 4 ]; do sleep 0.2; done
kill -9 "$coordinator_pid"; echo "killed the coordinator after $((SECONDS - start)) s"; sleep 1; coordinator
until [ "$(won "$job")" -ge 10 ]; do sleep 0.2; done
pkill -9 -P "${worker_pid[1]}" 2>/dev/null || true; kill -9 "${worker_pid[1]}"
echo "killed worker 1 after $((SECONDS - start)) s"; worker 1
user job wait "$job" >/dev/null
[ "$(hash_of "$job")" = "$undisturbed" ] || { echo "another result than undisturbed"; exit 1; }
kinds "$job"

# sever N / heal N: no packet passes. deafen N / heal N: what worker N says arrives, and no answer reaches it.
sever() { ip -n "${prefix}c" link set "${prefix}a$1" down; }
deafen() { ip -n "${prefix}c" route replace blackhole "10.77.$1.2/32"; }
heal() {
    ip -n "${prefix}c" route del blackhole "10.77.$1.2/32" 2>/dev/null || true
    ip -n "${prefix}c" link set "${prefix}a$1" up
}
# Milliseconds between the cut and the next grant of what the worker held: at most a lease and a poll.
idle_ms() {
    local since=$1
    for _ in $(seq 200); do
        if user job events "$2" --format jsonl | grep -q '"kind":"lost"'; then echo $(($(date +%s%3N) - since)); return; fi
        sleep 0.05
    done
    echo "never"
}
faults=0
for round in $(seq "${ROUNDS:-1}"); do
    echo "== round $round: a worker is cut off for two leases, one hears nothing for two leases, one flaps"
    job=$(user submit paced-word-count -a 700 "${inputs[@]}" --split-bytes 30000 --partitions 6 --detach)
    start=$SECONDS
    until [ "$(won "$job")" -ge 3 ]; do sleep 0.2; done
    sever 1; at=$(date +%s%3N)
    idle=$(idle_ms "$at" "$job"); echo "taken away from the worker that was cut off after $idle ms (lease 3000 ms)"
    [ "$idle" != never ] && [ "$idle" -le 6000 ] || exit 1
    sleep 3; heal 1
    deafen 2; sleep 6; heal 2
    for _ in 1 2 3 4 5 6; do sever 3; sleep 0.3; heal 3; sleep 0.4; done
    user job wait "$job" >/dev/null
    [ "$(hash_of "$job")" = "$undisturbed" ] || { echo "another result than undisturbed"; exit 1; }
    faults=$((faults + 3))
    echo "took $((SECONDS - start)) s"; kinds "$job"
done
echo "$faults faults of the network, every output as undisturbed"

echo "== drained"
job=$(user submit paced-word-count -a 700 "${inputs[@]}" --split-bytes 100000 --partitions 6 --detach)
start=$SECONDS
until [ "$(won "$job")" -ge 3 ]; do sleep 0.2; done
kill -TERM "${worker_pid[2]}"; echo "drained worker 2 after $((SECONDS - start)) s"
user job wait "$job"
echo "took $((SECONDS - start)) s"
hash_of "$job"
kinds "$job"
wait "${worker_pid[2]}" && echo "worker 2 left with exit code 0"
