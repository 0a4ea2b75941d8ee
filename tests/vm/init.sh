#!/usr/bin/busybox sh
# The VM's first process: makes the usual file systems, runs /command and switches the machine off.
# Virtio port 1 carries the command's output, port 2 its exit status; the serial console is left to
# the kernel, so that its messages are never mixed in.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/usr/lib/busybox
/usr/bin/busybox mkdir -p /usr/lib/busybox
/usr/bin/busybox --install -s /usr/lib/busybox
chmod 755 /
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts pts /dev/pts
mount -t tmpfs -o mode=1777 shm /dev/shm
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs -o mode=1777 tmp /tmp
[ -e /dev/fd ] || ln -s /proc/self/fd /dev/fd
ip link set lo up
for module in virtio_ring virtio virtio_mmio virtio_console brd; do
    case $module in brd) options="rd_nr=1 rd_size=65536" ;; *) options= ;; esac
    insmod /lib/modules/$module.ko $options
done
# tmpfs has no O_DIRECT: /var/tmp is a file system that has.
mkdir -p /var/tmp
mke2fs /dev/ram0 >/dev/null && mount -t ext4 /dev/ram0 /var/tmp && chmod 1777 /var/tmp
hostname mapdev-aarch64

. /environment # USER, as which /command runs
if [ "$USER" = root ]; then
    sh /command </dev/null >/dev/vport0p1 2>&1
else
    su -s /bin/sh "$USER" -c 'sh /command' </dev/null >/dev/vport0p1 2>&1
fi
echo $? >/dev/vport0p2
poweroff -f
