#!/bin/busybox sh
# shellcheck shell=dash
# The first and only program of the guest: it loads the modules, mounts the
# host's folder and runs /command, whose output and exit status go to the host
# through ports of their own.
/bin/busybox --install -s /bin
export PATH=/bin HOME=/tmp
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mkdir -p /dev/pts /dev/shm
mount -t devpts pts /dev/pts
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
while read -r module; do
	insmod "/mod/$module"
done </mod/order
ip link set lo up

port() {
	for p in /sys/class/virtio-ports/*; do
		[ "$(cat "$p/name")" = "$1" ] && echo "/dev/${p##*/}"
	done
}
# shellcheck source=/dev/null
. /settings # SHARE: the folder that the host shares, at the same path
mkdir -p "$SHARE"
mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,cache=loose,ro share "$SHARE" || echo "vm: no shared folder"
/bin/busybox sh /command </dev/null >"$(port out)" 2>"$(port err)"
echo $? >"$(port code)"
poweroff -f
