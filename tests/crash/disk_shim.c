/* Tells what a program does to the files of one folder. Preloaded, it appends every write, sync and change of names in DISK_SHIM_FOLDER
 * to DISK_SHIM_LOG. LMDB's lock files are left out: nothing in them outlives the machine.
 *
 * A record is a header, then the bytes written or the names, each closed by a zero. The program may append marks of its own to the log.
 * With DISK_SHIM_SWALLOW=files (or =names) syncs of files (or of the folder) are neither done nor told: a lying disk, or a program
 * that forgets them. One thread writes.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

struct record {
    char kind;           /* W: write, S: sync of a file, D: sync of the folder, C: a file made, R: renamed, L: linked, U: unlinked */
    uint8_t is_durable;  /* a write that is on the disk when it returns */
    uint16_t unused;
    uint32_t size;
    int64_t offset;
    uint64_t file;       /* inode */
};

static void append(const struct record *header, const struct iovec *parts)
{
    static int log = -1;
    struct record *record = calloc(1, sizeof *record + header->size);
    char *end = (char *)(record + 1), *stop = end + header->size;
    *record = *header;
    for (; end < stop; parts++) {  /* less than all parts if the write fell short */
        size_t length = parts->iov_len < (size_t)(stop - end) ? parts->iov_len : (size_t)(stop - end);
        memcpy(end, parts->iov_base, length);
        end += length;
    }
    if (log < 0)
        log = syscall(SYS_openat, AT_FDCWD, getenv("DISK_SHIM_LOG"), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    if (syscall(SYS_write, log, record, sizeof *record + header->size) != (ssize_t)(sizeof *record + header->size))
        abort();
    free(record);
}

/* The name in the folder; NULL if the path lies elsewhere, or is of a lock file. */
static const char *watched_name(const char *path)
{
    const char *folder = getenv("DISK_SHIM_FOLDER");
    size_t size = folder ? strlen(folder) : 0, length = strlen(path);
    if (!size || strncmp(path, folder, size) || path[size] != '/' || strchr(path + size + 1, '/'))
        return NULL;
    return length > 5 && !strcmp(path + length - 5, "-lock") ? NULL : path + size + 1;
}

static int find_path(int fd, char *path, size_t room)
{
    char link[40];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, room - 1);
    path[size > 0 ? size : 0] = 0;
    return size > 0;
}

static int is_watched(int fd)
{
    char path[4096];
    return find_path(fd, path, sizeof path) && watched_name(path);
}

static uint64_t number_of(int fd)
{
    struct stat status;
    return fstat(fd, &status) == 0 ? status.st_ino : 0;
}

static ssize_t tell_write(int fd, off_t offset, const struct iovec *parts, ssize_t written)
{
    if (written > 0 && is_watched(fd))
        append(&(struct record){'W', (fcntl(fd, F_GETFL) & O_DSYNC) != 0, 0, written, offset, number_of(fd)}, parts);
    return written;
}

static int tell_names(char kind, uint64_t file, const char *first, const char *second, int result)
{
    if (result < 0 || !(first = watched_name(first)) || !(second = watched_name(second)))
        return result;
    struct iovec parts[2] = {{(void *)first, strlen(first) + 1}, {(void *)second, strlen(second) + 1}};
    append(&(struct record){kind, 0, 0, parts[0].iov_len + parts[1].iov_len, 0, file}, parts);
    return result;
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

static int is_swallowed(const char *what)
{
    const char *swallowed = getenv("DISK_SHIM_SWALLOW");
    return swallowed && !strcmp(swallowed, what);
}

static int sync_with(long call, int fd)
{
    char path[4096];
    const char *folder = getenv("DISK_SHIM_FOLDER");
    int is_folder = folder && find_path(fd, path, sizeof path) && !strcmp(path, folder);
    if (!is_folder && !is_watched(fd))
        return syscall(call, fd);
    if (is_swallowed(is_folder ? "names" : "files"))
        return 0;
    int result = syscall(call, fd);
    if (result == 0)
        append(&(struct record){is_folder ? 'D' : 'S', 0, 0, 0, 0, number_of(fd)}, NULL);
    return result;
}

int fdatasync(int fd) { return sync_with(SYS_fdatasync, fd); }
int fsync(int fd) { return sync_with(SYS_fsync, fd); }

static int open_at(int folder, const char *path, int flags, mode_t mode)
{
    int is_new = (flags & O_CREAT) && watched_name(path) && faccessat(folder, path, F_OK, 0) != 0;
    int fd = syscall(SYS_openat, folder, path, flags, mode);
    if (is_new && fd >= 0)
        tell_names('C', number_of(fd), path, path, 0);
    return fd;
}

#define MODE(last) (__extension__({ va_list rest; va_start(rest, last); mode_t mode = va_arg(rest, mode_t); va_end(rest); mode; }))

int open(const char *path, int flags, ...) { return open_at(AT_FDCWD, path, flags, flags & (O_CREAT | O_TMPFILE) ? MODE(flags) : 0); }
int open64(const char *path, int flags, ...) { return open_at(AT_FDCWD, path, flags, flags & (O_CREAT | O_TMPFILE) ? MODE(flags) : 0); }

int rename(const char *from, const char *to) { return tell_names('R', 0, from, to, syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0)); }
int link(const char *from, const char *to) { return tell_names('L', 0, from, to, syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0)); }
int unlink(const char *path) { return tell_names('U', 0, path, path, syscall(SYS_unlinkat, AT_FDCWD, path, 0)); }

ssize_t pwrite64(int, const void *, size_t, off_t) __attribute__((alias("pwrite")));
ssize_t pwritev64(int, const struct iovec *, int, off_t) __attribute__((alias("pwritev")));
