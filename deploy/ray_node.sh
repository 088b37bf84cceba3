#!/bin/sh
# Starts Ray on a machine of a cluster: `sh deploy/ray_node.sh head|worker [options of ray start]`, from a csro set up by
# deploy/setup.sh. Ray itself must run there only once. `ray_node.sh ready` returns when the head here takes jobs.
#
# In ~/.config/csro, readable by their owner alone: ray_token, the cluster's token (the same file on every machine and
# for those who submit), and secrets.env with CSRO_REDIS_URL and the providers' keys, one NAME=VALUE a line. On the head
# also, if wanted, head.env with CSRO_CLUSTER, CSRO_BOARD_URL and RAY_GRAFANA_* or RAY_PROMETHEUS_HOST: a shell file, so
# quote values.
set -eu
role=${1:?head, worker or ready}
shift
here=$(cd "$(dirname "$0")/.." && pwd)
config=$HOME/.config/csro
export PATH="$here/.venv/bin:$PATH" # so that a job's `python` is the one with csro

export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$config/ray_token"
[ -r "$RAY_AUTH_TOKEN_PATH" ] || {
    echo "csro: no $RAY_AUTH_TOKEN_PATH: make one with openssl rand -hex 32, chmod 600, on every machine" >&2
    exit 1
}
export RAY_ENABLE_UV_RUN_RUNTIME_ENV=0     # it would copy the environment for each job
export RAY_USAGE_STATS_ENABLED=0
export RAY_memory_monitor_refresh_ms=0     # it kills innocent actors; each program has a memory limit of its own
# How long machines wait for a head that is being restarted: on a busy machine it may miss its own start-up deadlines
# several times.
export RAY_gcs_rpc_server_reconnect_timeout_s=600

case $role in
head)
    if [ -r "$config/head.env" ]; then
        set -a
        . "$config/head.env"
        set +a
    fi
    # The head runs no work (no processors, no csro_worker), so that a run outlives it; it needs the store for that.
    cluster=${CSRO_CLUSTER:-csro}
    store=$(cd "$here" && python -m deploy.head_store "$config/secrets.env" "$cluster")
    if [ -n "$store" ]; then
        export RAY_REDIS_ADDRESS="${store%% *}" RAY_external_storage_namespace="$cluster"
        store=${store#* }
        set -- --redis-username="${store%% *}" --redis-password="${store#* }" "$@"
    else
        echo "csro: no CSRO_REDIS_URL in $config/secrets.env: runs will not outlive this head" >&2
    fi
    board=${CSRO_BOARD_URL:-http://127.0.0.1:8270} # as a browser reaches it: forward ports 8265 and 8270 alike
    export RAY_GRAFANA_HOST="${RAY_GRAFANA_HOST:-http://127.0.0.1:8270}" RAY_GRAFANA_IFRAME_HOST="$board"
    export RAY_PROMETHEUS_HOST="${RAY_PROMETHEUS_HOST:-http://127.0.0.1:8270}" RAY_GRAFANA_DEFAULT_DASHBOARD_UID=csro
    export RAY_enable_autoscaler_v2=0 # v2 takes only one of several machines of the local provider
    # What the autoscaler of a head that `ray up` made needs to bring its workers up, also when the head starts again.
    [ -f "$HOME/ray_bootstrap_config.yaml" ] && set -- --autoscaling-config="$HOME/ray_bootstrap_config.yaml" "$@"
    # The board waits: while Ray starts, each processor is needed for that.
    start_board='sh deploy/ray_node.sh ready && exec python -m deploy.board'
    (cd "$here" && CSRO_SECRETS="$config/secrets.env" setsid nohup sh -c "$start_board" >"$HOME/csro-board.log" 2>&1 &)
    exec ray start --head --port=6379 --num-cpus=0 --dashboard-host=127.0.0.1 --dashboard-port=8265 "$@"
    ;;
worker)
    # A head that starts anew on a machine that did knows of no workers and starts all of them: one that serves it goes
    # on, for it may carry a run's driver. One from before an upgrade or a new token is of no use to the head.
    command -v pgrep >/dev/null || {
        echo "csro: no pgrep here: install procps" >&2
        exit 1
    }
    stamp=$config/ray_started
    wanted=$(cat "$here/.venv/.installed" "$RAY_AUTH_TOKEN_PATH" | cksum)
    ours="raylet/raylet .*--gcs-address=${RAY_HEAD_IP:-}:6379"
    if [ -n "${RAY_HEAD_IP:-}" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] &&
        pgrep -u "$(id -u)" -f "$ours" >/dev/null; then
        echo "csro: Ray runs here already, for the head $RAY_HEAD_IP" >&2
        exit 0
    fi
    ray stop >/dev/null 2>&1 || true
    printf '%s\n' "$wanted" >"$stamp"
    for try in 1 2 3; do # Ray has start-up deadlines of its own, which a busy machine misses
        ray start --resources='{"csro_worker": 1000}' "$@" && exit 0
        echo "csro: Ray did not come up in time, try $try of 3" >&2
        ray stop >/dev/null 2>&1 || true
        sleep 5
    done
    exit 1
    ;;
ready)
    exec python -c '
import socket, sys, time
end = time.monotonic() + 280
while socket.socket().connect_ex(("127.0.0.1", 8265)):
    if time.monotonic() > end:
        sys.exit("csro: the head does not come up; see /tmp/ray/session_latest/logs")
    time.sleep(0.5)'
    ;;
*)
    echo "csro: ray_node.sh head, worker or ready, not $role" >&2
    exit 2
    ;;
esac
