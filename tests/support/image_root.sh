#!/bin/sh
# Become the first process of a container that is like one of the image: `image_root.sh ENVIRONMENT COMMAND...`.
#
# Run as root in new namespaces (mount, process and network). The root file system is read-only and has
# this machine's system folders, the locked packages, and ENVIRONMENT at /opt/agent-storage.
# MOUNTS names further folders that the interpreter needs. /tmp and /data are in memory.
set -eu
environment=$1
shift
root=$(mktemp -d)
mount -t tmpfs root "$root"
mkdir "$root/tmp"
mount -t tmpfs tmp "$root/tmp" # before the folders below, which may be in it
for place in /bin /etc /lib /lib64 /sbin /usr $MOUNTS "$environment:/opt/agent-storage"; do
	from=${place%:*} to=$root${place#*:}
	[ -d "$from" ] || continue
	mkdir -p "$to"
	mount --bind "$from" "$to"
	mount -o remount,bind,ro "$to"
done
mkdir -p "$root/proc" "$root/dev" "$root/data"
mount -t proc proc "$root/proc"
mount -t tmpfs -o uid=10001,gid=10001,mode=0750 data "$root/data"
for device in null urandom; do
	touch "$root/dev/$device"
	mount --bind "/dev/$device" "$root/dev/$device"
done
mount -o remount,ro "$root"
ip link set lo up
cd "$root"
exec chroot . setpriv --reuid="$USER_ID" --regid="$GROUP_ID" --clear-groups --no-new-privs --bounding-set=-all \
	--inh-caps=-all env --ignore-environment --chdir=/data "$@"
