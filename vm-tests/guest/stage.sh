#!/bin/sh
# Runs inside the finished chroot: collects in /stage what the guest's initramfs holds.
# Environment: MODULES, PROGRAMS, LIBRARIES (lists of names), OPTIONAL_MODULES (taken where the kernel has them).
set -eu
kernel=$(ls /lib/modules)
stage=/stage
rm -rf "$stage"
mkdir -p "$stage/usr/bin" "$stage/usr/sbin" "$stage/usr/lib" "$stage/usr/lib64" "$stage/etc" "$stage/dev" \
    "$stage/proc" "$stage/sys" "$stage/run" "$stage/tmp" "$stage/put" "$stage/root" "$stage/var"
for name in bin sbin lib lib64; do
    ln -s "usr/$name" "$stage/$name"
done
ln -s ../run "$stage/var/run"
ln -s ../tmp "$stage/var/tmp"

# Modules with what they depend on, decompressed and without debug data, so that the guest loads them fast.
for module in $OPTIONAL_MODULES; do
    if modprobe --set-version "$kernel" --show-depends "$module" >/dev/null 2>&1; then
        MODULES="$MODULES $module"
    fi
done
for module in $MODULES; do
    modprobe --set-version "$kernel" --show-depends "$module"
done | awk '$1 == "insmod" { print $2 }' | sort -u >/tmp/modules
while read -r file; do
    target=$stage/usr${file#/usr}
    target=${target%.xz}
    target=${target%.zst}
    mkdir -p "${target%/*}"
    case $file in
        *.xz) xz -dc "$file" >"$target" ;;
        *.zst) zstd -dc "$file" >"$target" ;;
        *) cp "$file" "$target" ;;
    esac
    strip --strip-debug "$target"
done </tmp/modules
cp "/lib/modules/$kernel/modules.builtin" "/lib/modules/$kernel/modules.builtin.modinfo" \
    "/lib/modules/$kernel/modules.order" "$stage/usr/lib/modules/$kernel/"
depmod --basedir "$stage" "$kernel"

# Programs with the libraries they are linked against. zinject is packaged with the test suite where it is packaged.
if [ -n "${EXTRA_PACKAGE:-}" ] && ! command -v zinject >/dev/null; then
    (cd /tmp && apt-get download "$EXTRA_PACKAGE" && dpkg-deb --extract "${EXTRA_PACKAGE%%/*}"_*.deb extra) || true
    for found in $(find /tmp/extra -name zinject -type f); do
        cp "$found" /usr/sbin/zinject
    done
fi
for program in $PROGRAMS; do
    path=$(command -v "$program") || { echo "no $program in this release" >&2; continue; }
    cp -L "$path" "$stage/usr/${path#/usr/}" 2>/dev/null || cp -L "$path" "$stage/usr$path"
    ldd "$path" 2>/dev/null | awk '$2 == "=>" { print $3 } $1 ~ /^\// { print $1 }' || true
done | sort -u >/tmp/libraries
for library in $LIBRARIES; do
    find /lib/x86_64-linux-gnu -name "$library"
done >>/tmp/libraries
while read -r file; do
    target=$stage/usr${file#/usr}
    mkdir -p "${target%/*}"
    cp -L "$file" "$target"
done </tmp/libraries

# busybox' own shell prefers its applets to programs of the same name, such as ip.
ln -s dash "$stage/usr/bin/sh"

# Every busybox applet whose real program is not there.
for applet in $(busybox --list); do
    if [ ! -e "$stage/usr/bin/$applet" ] && [ ! -e "$stage/usr/sbin/$applet" ]; then
        ln -s busybox "$stage/usr/bin/$applet"
    fi
done

cat >"$stage/etc/passwd" <<'END'
root:x:0:0:root:/root:/bin/sh
operator:x:1000:1000:delegated permissions:/tmp:/bin/sh
nobody:x:65534:65534:nobody:/:/bin/sh
END
cat >"$stage/etc/group" <<'END'
root:x:0:
operator:x:1000:
nogroup:x:65534:
END
printf '127.0.0.1 localhost\n::1 localhost\n' >"$stage/etc/hosts"
printf 'passwd: files\ngroup: files\nhosts: files\n' >"$stage/etc/nsswitch.conf"
printf '/bin/sh\n' >"$stage/etc/shells"
ln -s /proc/self/mounts "$stage/etc/mtab"
cp /etc/os-release "$stage/etc/os-release"

cp "/boot/vmlinuz-$kernel" /guest-kernel
{
    printf 'zfs=%s\n' "$(dpkg-query --show --showformat='${Version}' zfs-dkms)"
    printf 'kernel=%s\n' "$kernel"
    printf 'glibc=%s\n' "$(dpkg-query --show --showformat='${Version}' libc6)"
} >/facts
