#!/bin/sh
# PID 1 of the guest: mounts, modules, then the agent that serves the host. Ends the machine when the agent ends.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=1777 shm /dev/shm
mount -t tmpfs -o mode=755 run /run
mount -t tmpfs -o mode=1777,size=80% tmp /tmp
ln -s /proc/self/fd /dev/fd
mkdir -p /run/lock

if grep -q zrepl.probe /proc/cmdline; then
    echo "zrepl probe: userland runs"
    poweroff -f
fi

hostname guest
ip link set lo up
modprobe -a virtio_pci virtio_blk virtio_console virtio_rng virtio_net
echo "zrepl init: virtio loaded at $(cut -d' ' -f1 /proc/uptime)"
modprobe zfs || echo "zrepl init: no zfs module"
echo "zrepl init: zfs loaded at $(cut -d' ' -f1 /proc/uptime)"

# In the foreground: a shell makes its background commands, and all that they start, ignore SIGINT. While it waits it also
# reaps whatever commands leave behind.
if [ -d /put/loader ]; then
    /put/loader/ld.so --library-path /put/loader /put/agent agent
else
    /put/agent agent
fi
echo "zrepl init: the agent ended with status $?"
poweroff -f
