/* Tells what a program does to one file. Preloaded, it appends every write and sync of DISK_SHIM_FILE to DISK_SHIM_LOG.
 *
 * A record is a header, then the bytes written. The program may append marks of its own to the log. With DISK_SHIM_SWALLOW
 * set, syncs of the file are neither done nor told: a lying disk, or a program that forgets them. One thread writes.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

struct record {
    char kind;           /* W: write, S: sync */
    uint8_t is_durable;  /* a write that is on the disk when it returns */
    uint16_t unused;
    uint32_t size;
    int64_t offset;
};

static int is_watched(int fd)
{
    const char *path = getenv("DISK_SHIM_FILE");
    struct stat ours, watched;
    return path && fstat(fd, &ours) == 0 && stat(path, &watched) == 0 && ours.st_dev == watched.st_dev && ours.st_ino == watched.st_ino;
}

static void tell(char kind, int is_durable, off_t offset, const struct iovec *parts, size_t size)
{
    static int log = -1;
    struct record *record = calloc(1, sizeof *record + size);
    char *end = (char *)(record + 1), *stop = end + size;
    *record = (struct record){kind, is_durable, 0, size, offset};
    for (; end < stop; parts++) {  /* less than all parts if the write fell short */
        size_t length = parts->iov_len < (size_t)(stop - end) ? parts->iov_len : (size_t)(stop - end);
        memcpy(end, parts->iov_base, length);
        end += length;
    }
    if (log < 0)
        log = open(getenv("DISK_SHIM_LOG"), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    if (syscall(SYS_write, log, record, sizeof *record + size) != (ssize_t)(sizeof *record + size))
        abort();
    free(record);
}

static ssize_t tell_write(int fd, off_t offset, const struct iovec *parts, ssize_t written)
{
    if (written > 0 && is_watched(fd))
        tell('W', (fcntl(fd, F_GETFL) & O_DSYNC) != 0, offset, parts, written);
    return written;
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    return tell_write(fd, offset, parts, syscall(SYS_pwritev, fd, parts, (long)count, offset, 0L));
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
    struct iovec part = {(void *)data, size};
    return tell_write(fd, offset, &part, syscall(SYS_pwrite64, fd, data, size, offset));
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    off_t offset = lseek(fd, 0, SEEK_CUR);
    return tell_write(fd, offset, parts, syscall(SYS_writev, fd, parts, (long)count));
}

ssize_t write(int fd, const void *data, size_t size)
{
    struct iovec part = {(void *)data, size};
    off_t offset = lseek(fd, 0, SEEK_CUR);
    return tell_write(fd, offset, &part, syscall(SYS_write, fd, data, size));
}

static int sync_with(long call, int fd)
{
    if (!is_watched(fd))
        return syscall(call, fd);
    if (getenv("DISK_SHIM_SWALLOW"))
        return 0;
    int result = syscall(call, fd);
    if (result == 0)
        tell('S', 0, 0, NULL, 0);
    return result;
}

int fdatasync(int fd) { return sync_with(SYS_fdatasync, fd); }
int fsync(int fd) { return sync_with(SYS_fsync, fd); }

ssize_t pwrite64(int, const void *, size_t, off_t) __attribute__((alias("pwrite")));
ssize_t pwritev64(int, const struct iovec *, int, off_t) __attribute__((alias("pwritev")));
