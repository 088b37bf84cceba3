#!/bin/sh
# (Re)starts the cluster's head on this machine as a service of its user, which comes back when it ends and when the
# machine starts anew: csro-head.service. Where that cannot be it is started all the same, and stays away when it ends.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)

# Services of a user who does not linger end when the user logs out.
lingers() {
    loginctl --no-ask-password enable-linger </dev/null >/dev/null 2>&1 ||
        loginctl show-user "$(id -un)" --property=Linger 2>/dev/null | grep -q yes
}

missing=
if ! systemctl --user show-environment >/dev/null 2>&1; then
    missing="no systemd for this user here"
elif ! lingers; then
    missing="a service would end when $(id -un) logs out (as root: loginctl enable-linger $(id -un))"
    systemctl --user disable --now csro-head >/dev/null 2>&1 || true
fi
if [ -z "$missing" ]; then
    mkdir -p "$HOME/.config/systemd/user"
    sed "s|%h/csro|$here|" "$here/deploy/csro-head.service" >"$HOME/.config/systemd/user/csro-head.service"
    systemctl --user daemon-reload
    systemctl --user stop csro-head
    "$here/.venv/bin/ray" stop >/dev/null 2>&1 || true # one that was not started by the service
    systemctl --user enable --now csro-head
else
    echo "csro: $missing: nothing will restart the head when it ends but sh $here/deploy/head_service.sh" >&2
    "$here/.venv/bin/ray" stop >/dev/null 2>&1 || true
    sh "$here/deploy/ray_node.sh" head
    sh "$here/deploy/ray_node.sh" ready
fi
