/* Lets calls to the system fail. Preloaded, it counts the calls of one kind that concern FAULT_SHIM_FILE, or files whose names begin
 * so, and lets the nth of them, or all from the nth on, fail with an error number; or every write beyond a size, as a full disk does.
 * Armed and disarmed by the program itself, through fault_arm. Of memory only LMDB and the kernels of mlstore are kept short.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum call { NONE, WRITE, SYNC, OPEN, MMAP, MALLOC, DISK };

static volatile int armed_call = NONE, armed_error, is_forever;
static volatile long countdown, reached, room;

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);

void fault_arm(int call, long nth, int error, int forever, long size)
{
    armed_call = NONE;
    countdown = nth;
    armed_error = error;
    is_forever = forever;
    reached = 0;
    room = size;
    armed_call = call;
}

long fault_reached(void) { return reached; }

static int is_due(int call)
{
    if (armed_call != call)
        return 0;
    if (countdown > 0) {
        countdown--;
        return 0;
    }
    if (!is_forever && reached > 0)
        return 0;
    reached++;
    errno = armed_error;
    return 1;
}

static int is_watched_name(const char *name)
{
    const char *watched = getenv("FAULT_SHIM_FILE");
    return watched && name && strncmp(name, watched, strlen(watched)) == 0;
}

static int is_watched(int fd)
{
    char link[64], name[4096];
    ssize_t size;
    char *end = link + sizeof link - 1;
    int number = fd;
    if (fd < 0)
        return 0;
    *end = 0;
    do
        *--end = '0' + number % 10;
    while (number /= 10);
    end -= strlen("/proc/self/fd/");
    memcpy(end, "/proc/self/fd/", strlen("/proc/self/fd/"));
    size = syscall(SYS_readlink, end, name, sizeof name - 1);
    if (size < 0)
        return 0;
    name[size] = 0;
    return is_watched_name(name);
}

/* How much of a write the disk takes: less than all if it is full, -1 for an error. */
static ssize_t allowed(int fd, off_t offset, size_t size)
{
    if (armed_call == WRITE && is_watched(fd) && is_due(WRITE))
        return -1;
    if (armed_call == DISK && is_watched(fd) && offset + (off_t)size > room) {
        reached++;
        if (offset < room)
            return room - offset;
        errno = ENOSPC;
        return -1;
    }
    return size;
}

static size_t total(const struct iovec *parts, int count)
{
    size_t size = 0;
    while (count-- > 0)
        size += parts++->iov_len;
    return size;
}

static ssize_t write_parts(int fd, const struct iovec *parts, int count, off_t offset, long call)
{
    size_t size = total(parts, count);
    ssize_t part = allowed(fd, offset, size);
    if (part < 0)
        return -1;
    if ((size_t)part < size) {
        struct iovec first = {parts->iov_base, parts->iov_len < (size_t)part ? parts->iov_len : (size_t)part};
        return syscall(SYS_pwritev, fd, &first, 1L, offset, 0L);
    }
    return call == SYS_writev ? syscall(SYS_writev, fd, parts, (long)count) : syscall(SYS_pwritev, fd, parts, (long)count, offset, 0L);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) { return write_parts(fd, parts, count, offset, SYS_pwritev); }

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    return write_parts(fd, parts, count, lseek(fd, 0, SEEK_CUR), SYS_writev);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
    ssize_t part = allowed(fd, offset, size);
    return part < 0 ? -1 : syscall(SYS_pwrite64, fd, data, (size_t)part, offset);
}

ssize_t write(int fd, const void *data, size_t size)
{
    ssize_t part = armed_call == WRITE || armed_call == DISK ? allowed(fd, lseek(fd, 0, SEEK_CUR), size) : (ssize_t)size;
    return part < 0 ? -1 : syscall(SYS_write, fd, data, (size_t)part);
}

int fdatasync(int fd) { return armed_call == SYNC && is_watched(fd) && is_due(SYNC) ? -1 : syscall(SYS_fdatasync, fd); }
int fsync(int fd) { return armed_call == SYNC && is_watched(fd) && is_due(SYNC) ? -1 : syscall(SYS_fsync, fd); }

int openat(int folder, const char *name, int flags, ...)
{
    mode_t mode = 0;
    if (flags & (O_CREAT | O_TMPFILE)) {
        va_list rest;
        va_start(rest, flags);
        mode = va_arg(rest, mode_t);
        va_end(rest);
    }
    if (armed_call == OPEN && is_watched_name(name) && is_due(OPEN))
        return -1;
    return syscall(SYS_openat, folder, name, flags, mode);
}

int open(const char *name, int flags, ...)
{
    mode_t mode = 0;
    if (flags & (O_CREAT | O_TMPFILE)) {
        va_list rest;
        va_start(rest, flags);
        mode = va_arg(rest, mode_t);
        va_end(rest);
    }
    return openat(AT_FDCWD, name, flags, mode);
}

void *mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset)
{
    if (armed_call == MMAP && is_watched(fd) && is_due(MMAP))
        return MAP_FAILED;
    return (void *)syscall(SYS_mmap, address, size, protection, flags, fd, offset);
}

static int is_short_of_memory(void *caller)
{
    static __thread int is_asking;
    int answer = 0;
    Dl_info where;
    if (armed_call != MALLOC || is_asking)
        return 0;
    is_asking = 1;
    if (dladdr(caller, &where) && where.dli_fname && (strstr(where.dli_fname, "lmdb") || strstr(where.dli_fname, "mlstore/_core")))
        answer = is_due(MALLOC);
    is_asking = 0;
    return answer;
}

void *malloc(size_t size) { return is_short_of_memory(__builtin_return_address(0)) ? NULL : __libc_malloc(size); }
void *calloc(size_t count, size_t size) { return is_short_of_memory(__builtin_return_address(0)) ? NULL : __libc_calloc(count, size); }
void *realloc(void *old, size_t size) { return is_short_of_memory(__builtin_return_address(0)) ? NULL : __libc_realloc(old, size); }

ssize_t pwrite64(int, const void *, size_t, off_t) __attribute__((alias("pwrite")));
ssize_t pwritev64(int, const struct iovec *, int, off_t) __attribute__((alias("pwritev")));
int open64(const char *, int, ...) __attribute__((alias("open")));
int openat64(int, const char *, int, ...) __attribute__((alias("openat")));
void *mmap64(void *, size_t, int, int, int, off_t) __attribute__((alias("mmap")));
