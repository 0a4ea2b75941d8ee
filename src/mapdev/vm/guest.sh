#!/bin/busybox sh
# shellcheck disable=SC1091,SC2086,SC2154 # settings come from /settings, and parameters are words
# The machine's first process. It puts the host's root file system, seen through 9p and never
# written, below a file system in memory that takes what is written, and makes that the root. Then
# it runs itself again there, to run the command.
#
# Virtio ports: 1 standard input, 2 output, 3 error output, 4 what becomes of the command ("ready",
# then "exit STATUS"). The serial console is left to the kernel. A port can be opened once only, so
# that the command gets pipes: it may open /dev/stdout.
run=/run/mapdev
box=$run/busybox

prepare() {
    /bin/busybox --install -s /bin
    export PATH=/bin
    mount -t devtmpfs dev /dev
    mount -t proc proc /proc
    mount -t sysfs sys /sys
    for module in /modules/*.ko; do
        parameters=
        case $module in *-brd.ko) parameters="rd_nr=1 rd_size=65536" ;; esac
        insmod "$module" $parameters || echo "<3>mapdev: $module can't be loaded" >/dev/kmsg
    done
    mount -t 9p -o "ro,trans=virtio,version=9p2000.L,cache=loose,access=any,msize=$msize" root /host
    mount -t tmpfs -o mode=755 written /written
    mkdir /written/files /written/work
    mount -t overlay -o lowerdir=/host,upperdir=/written/files,workdir=/written/work root /root
    fill_root
    cp -r /bin/busybox /init /settings /command /stage/. /root$run/
    exec switch_root /root $box sh $run/init
}

fill_root() {
    mkdir -p /root/dev /root/proc /root/sys /root/run /root/var/tmp
    mount -t devtmpfs dev /root/dev
    mkdir -p /root/dev/pts /root/dev/shm
    mount -t devpts -o ptmxmode=666 pts /root/dev/pts
    mount -t tmpfs -o mode=1777 shm /root/dev/shm
    ln -s /proc/self/fd /root/dev/fd
    ln -s /proc/self/fd/0 /root/dev/stdin
    ln -s /proc/self/fd/1 /root/dev/stdout
    ln -s /proc/self/fd/2 /root/dev/stderr
    mount -t proc proc /root/proc
    mount -t sysfs sys /root/sys
    mount -t tmpfs -o mode=755 run /root/run
    mkdir -p /root$run
    # The command's modules, where modprobe and `make -C /lib/modules/...` look for them.
    if [ -n "$modules" ] && [ ! -e "/root/lib/modules/$release" ]; then
        mkdir -p /root/lib/modules
        ln -s "$modules" "/root/lib/modules/$release"
    fi
    # A disk in memory is there where tmpfs has no O_DIRECT; /var/tmp always is to have it.
    case $directory/ in /var/tmp/*) return ;; esac
    [ -e /dev/ram0 ] || return 0
    mke2fs /dev/ram0 >/dev/null && mount -t ext4 /dev/ram0 /root/var/tmp && chmod 1777 /root/var/tmp
}

load() {
    for module in "$run"/*.ko; do
        [ -e "$module" ] || continue
        $box insmod "$module" $parameters 2>$run/error && continue
        echo "failed $($box cat $run/error)" >"$1"
        return 1
    done
}

# End what the command left behind: it may keep the pipes open, and we wait for their end.
end_the_rest() {
    while [ -e /proc/$copy_output/exe ] || [ -e /proc/$copy_errors/exe ]; do
        for process in /proc/[0-9]*; do
            case ${process#/proc/} in 1 | "$copy_output" | "$copy_errors") ;;
            *) kill -9 "${process#/proc/}" 2>/dev/null ;; esac
        done
        $box usleep 20000
    done
}

# By their number: the driver names them after the bus, which may have other devices. They come one
# after the other, some time after the driver.
find_ports() {
    status=
    until [ -c "$status" ]; do
        for port in /sys/class/virtio-ports/*; do
            device=/dev/${port##*/}
            case $port in *p1) input=$device ;; *p2) output=$device ;; *p3) errors=$device ;;
            *p4) status=$device ;; esac
        done
    done
}

serve() {
    $box ip link set lo up
    $box hostname mapdev-vm
    find_ports
    $box mkfifo $run/in $run/out $run/err
    if load "$status"; then
        $box cat $run/out >"$output" &
        copy_output=$!
        $box cat $run/err >"$errors" &
        copy_errors=$!
        $box cat "$input" >$run/in &
        echo ready >"$status"
        # In a process of its own, which no child's end interrupts while it opens the pipes.
        (exec $box setsid /bin/sh $run/command <$run/in >$run/out 2>$run/err)
        code=$?
        end_the_rest
        wait $copy_output $copy_errors
        echo "exit $code" >"$status"
    fi
    $box poweroff -f
}

if [ $$ != 1 ]; then exit 1; fi
if [ -e /settings ]; then
    . /settings
    prepare
else
    . $run/settings
    serve
fi
