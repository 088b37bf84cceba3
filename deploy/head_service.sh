#!/bin/sh
# (Re)starts the cluster's head on this machine as a service of its user, which comes back when it ends and when the
# machine starts anew: csro-head.service. Without systemd it is started all the same, and stays away when it ends.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
if systemctl --user show-environment >/dev/null 2>&1; then
    mkdir -p "$HOME/.config/systemd/user"
    cp "$here/deploy/csro-head.service" "$HOME/.config/systemd/user/"
    loginctl enable-linger >/dev/null 2>&1 ||
        echo "csro: the head ends when its user logs out: as root, loginctl enable-linger $(id -un)" >&2
    systemctl --user daemon-reload
    systemctl --user stop csro-head
    "$here/.venv/bin/ray" stop >/dev/null 2>&1 || true # one that was not started by the service
    systemctl --user enable --now csro-head
else
    echo "csro: no systemd for this user here: nothing will restart the head when it ends" >&2
    "$here/.venv/bin/ray" stop >/dev/null 2>&1 || true
    sh "$here/deploy/ray_node.sh" head
    sh "$here/deploy/ray_node.sh" ready
fi
