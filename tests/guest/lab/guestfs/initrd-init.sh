#!/bin/busybox sh
# A disk's driver, and the root file system: all that this kernel lacks for starting by itself.
/bin/busybox insmod /virtio_blk.ko
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t ext4 -o rw /dev/vda /newroot
exec /bin/busybox switch_root /newroot /sbin/init
