#!/usr/bin/env bash
# A Debian kernel with CAN and a small root file system, for tests that need
# what the host's kernel may lack. Prints the folder that holds them (kernel,
# initrd); the first call makes it below .cache/. Nothing is installed on the
# host but QEMU and what packs the image.
#
#   scripts/vm-image.sh
set -euo pipefail
cd "$(dirname "$0")/.."

# In the order in which they are wanted; what they need is loaded before them.
modules="virtio_pci virtio_console 9pnet_virtio 9p can can-raw vcan vxcan can-gw slcan"
image=$PWD/.cache/vm/$(sha256sum "$0" scripts/vm-init.sh | sha256sum | cut -c1-12)

build() {
	local work=$image.new version
	rm -rf "$work" && mkdir -p "$work/root/"{bin,dev,proc,sys,tmp,run,mod,share}
	cd "$work"
	package=$(apt-cache depends linux-image-amd64 | awk '/Depends:/ { print $2; exit }')
	if [ -z "$package" ] || ! apt-get -qq -o APT::Sandbox::User=root download "$package"; then
		apt-get -qq update
		package=$(apt-cache depends linux-image-amd64 | awk '/Depends:/ { print $2; exit }')
		apt-get -qq -o APT::Sandbox::User=root download "$package"
	fi
	dpkg -x linux-image-*.deb unpacked # unpacked, never installed
	version=$(ls unpacked/lib/modules)
	/sbin/depmod -b "$work/unpacked" "$version"
	for m in $modules; do
		/sbin/modprobe -d "$work/unpacked" -S "$version" --show-depends "$m"
	done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | while read -r file; do
		cp "$file" root/mod/
		echo "${file##*/}" >>root/mod/order
	done
	cp "$(command -v busybox)" root/bin/busybox
	install -m 755 "$OLDPWD/scripts/vm-init.sh" root/init
	(cd root && find . | LC_ALL=C sort | cpio -o -H newc --quiet) >initrd
	# The ELF inside boots through PVH at once: unpacking it in an emulated
	# machine would take seconds.
	local at
	at=$(LC_ALL=C grep -obUaP '\xFD7zXZ\x00' unpacked/boot/vmlinuz-* | head -1 | cut -d: -f1)
	tail -c +$((at + 1)) unpacked/boot/vmlinuz-* >packed
	xz -dc --single-stream <packed >kernel 2>/dev/null || true # what follows the archive is no fault
	[ -s kernel ]
	rm -rf unpacked packed root linux-image-*.deb
	cd "$OLDPWD"
	rm -rf "$image"
	mv "$work" "$image"
}

scripts/need.sh qemu-system-x86_64=qemu-system-x86 busybox=busybox-static cpio xz=xz-utils flock=util-linux >&2
[ -x /sbin/modprobe ] || scripts/need.sh modprobe-is-in-sbin=kmod >&2
if [ ! -e "$image/initrd" ]; then
	mkdir -p "$(dirname "$image")"
	exec 9>"$(dirname "$image")/lock"
	flock 9 # another one may be at it
	if [ ! -e "$image/initrd" ]; then
		echo "vm: making the image (70 MB to fetch)" >&2
		build >&2
		echo "vm: image made in $SECONDS s" >&2
	fi
	exec 9>&-
fi
echo "$image"
