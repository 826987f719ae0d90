/* Log and fail what a process does to the files under one folder: a library to preload.
 *
 * DISK_ROOT names the folder. Every change below it is made and logged under one lock, so the log is in
 * the order in which the kernel saw it. A program may also write marks of its own into the log, and ask
 * for the n-th change or sync to fail. What is mapped into memory is not seen: of SQLite's files that is
 * the index of the write-ahead log alone, which no power cut keeps.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

struct head {
    uint8_t op;      /* a letter, see disk.py */
    uint8_t failed;
    uint16_t unused;
    uint32_t length; /* of what follows */
    uint64_t inode;
    uint64_t offset; /* or the new size */
};

enum { NONE, CHANGE, SYNC };
#define FDS 4096

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char root[4000];
static size_t root_length;
static int log_fd = -1;
static uint64_t inodes[FDS]; /* of the descriptors below the root; 0 is any other */
static int fail_kind, fail_error, fail_sticky;
static long fail_at, counts[3];

#define REAL(name) \
    static __typeof__(name) *real; \
    if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

static void record(char op, int failed, uint64_t inode, uint64_t offset, const void *data, size_t length)
{
    struct head head = {op, failed, 0, length, inode, offset};
    struct iovec parts[2] = {{&head, sizeof head}, {(void *)data, length}};
    REAL(writev);
    if (log_fd >= 0 && real(log_fd, parts, 2) != (ssize_t)(sizeof head + length)) abort();
}

/* Removing needs no room. */
static int fails(int kind);
static int fails_to_remove(void) { return fail_error != ENOSPC && fails(CHANGE); }

/* Whether the operation that begins now is to fail: then errno is set. */
static int fails(int kind)
{
    counts[kind]++;
    if (fail_kind != kind) return 0;
    if (fail_sticky ? counts[kind] < fail_at : counts[kind] != fail_at) return 0;
    errno = fail_error;
    return 1;
}

static uint64_t tracked(int fd) { return fd >= 0 && fd < FDS ? inodes[fd] : 0; }

static int below(const char *path) { return root_length && path && !strncmp(path, root, root_length); }

void disk_log(const char *path)
{
    REAL(open);
    pthread_mutex_lock(&lock);
    if (log_fd >= 0) close(log_fd);
    int fd = real(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    log_fd = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 500); /* out of the way of everybody else's */
    if (fd >= 0) close(fd);
    pthread_mutex_unlock(&lock);
}

void disk_mark(const char *text, uint32_t length)
{
    pthread_mutex_lock(&lock);
    record('m', 0, 0, 0, text, length);
    pthread_mutex_unlock(&lock);
}

/* Let the at-th operation of a kind from now on fail, and with sticky all after it; kind 0 heals. */
void disk_fail(int kind, long at, int error, int sticky)
{
    pthread_mutex_lock(&lock);
    fail_kind = kind, fail_at = at, fail_error = error, fail_sticky = sticky;
    counts[CHANGE] = counts[SYNC] = 0;
    pthread_mutex_unlock(&lock);
}

long disk_count(int kind) { return counts[kind]; }

__attribute__((constructor)) static void begin(void)
{
    const char *folder = getenv("DISK_ROOT"), *log = getenv("DISK_LOG"), *fault = getenv("DISK_FAIL");
    if (folder && strlen(folder) < sizeof root) root_length = strlen(strcpy(root, folder));
    if (log) disk_log(log);
    if (fault) sscanf(fault, "%d:%ld:%d:%d", &fail_kind, &fail_at, &fail_error, &fail_sticky);
}

static int opened(int (*go)(int, const char *, int, mode_t), int at, const char *path, int flags, mode_t mode)
{
    struct stat before, after;
    pthread_mutex_lock(&lock);
    int ours = below(path), fresh = ours && (flags & O_CREAT) && stat(path, &before) != 0;
    int fd = fresh && fails(CHANGE) ? -1 : go(at, path, flags, mode);
    if (fd >= 0 && fd < FDS) {
        inodes[fd] = 0;
        if (ours && fstat(fd, &after) == 0) {
            inodes[fd] = after.st_ino;
            if (fresh) record('c', 0, after.st_ino, 0, path, strlen(path));
            else if (S_ISDIR(after.st_mode)) record('d', 0, after.st_ino, 0, path, strlen(path));
            if (flags & O_TRUNC) record('t', 0, after.st_ino, 0, "", 0);
        }
    }
    pthread_mutex_unlock(&lock);
    return fd;
}

#define MODE \
    mode_t mode = 0; \
    if (flags & (O_CREAT | __O_TMPFILE)) { va_list more; va_start(more, flags); mode = va_arg(more, mode_t); va_end(more); }

static int go_open(int at, const char *path, int flags, mode_t mode) { REAL(open); (void)at; return real(path, flags, mode); }
static int go_openat(int at, const char *path, int flags, mode_t mode) { REAL(openat); return real(at, path, flags, mode); }
int open(const char *path, int flags, ...) { MODE return opened(go_open, 0, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE return opened(go_open, 0, path, flags | O_LARGEFILE, mode); }
int openat(int at, const char *path, int flags, ...) { MODE return opened(go_openat, at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) { MODE return opened(go_openat, at, path, flags | O_LARGEFILE, mode); }

int close(int fd)
{
    REAL(close);
    if (fd >= 0 && fd < FDS) inodes[fd] = 0;
    return real(fd);
}

/* Run CALL, unless FAILING, as a change of what INODE names; LOG is done when it succeeded. */
#define CHANGED(type, inode, call, log) CHANGED_UNLESS(fails(CHANGE), type, inode, call, log)
#define CHANGED_UNLESS(failing, type, inode, call, log) \
    uint64_t node = inode; \
    if (!node) return call; \
    pthread_mutex_lock(&lock); \
    type result = failing ? -1 : call; \
    int error = errno; \
    if (result >= 0) { log; } \
    pthread_mutex_unlock(&lock); \
    errno = error; \
    return result

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset)
{
    REAL(pwrite);
    CHANGED(ssize_t, tracked(fd), real(fd, data, length, offset), record('w', 0, node, offset, data, result));
}
ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) { return pwrite(fd, data, length, offset); }

ssize_t write(int fd, const void *data, size_t length)
{
    REAL(write);
    CHANGED(ssize_t, tracked(fd), real(fd, data, length),
            record('w', 0, node, lseek(fd, 0, SEEK_CUR) - result, data, result));
}

int ftruncate(int fd, off_t size)
{
    REAL(ftruncate);
    CHANGED(int, tracked(fd), real(fd, size), record('t', 0, node, size, "", 0));
}
int ftruncate64(int fd, off64_t size) { return ftruncate(fd, size); }

int posix_fallocate(int fd, off_t offset, off_t length)
{
    REAL(posix_fallocate);
    if (!tracked(fd)) return real(fd, offset, length);
    pthread_mutex_lock(&lock);
    int result = fails(CHANGE) ? errno : real(fd, offset, length);
    if (result == 0) record('a', 0, tracked(fd), offset + length, "", 0);
    pthread_mutex_unlock(&lock);
    return result;
}
int posix_fallocate64(int fd, off64_t offset, off64_t length) { return posix_fallocate(fd, offset, length); }

static int synced(int (*go)(int), int fd)
{
    if (!tracked(fd)) return go(fd);
    pthread_mutex_lock(&lock);
    int failed = fails(SYNC);
    int result = failed ? -1 : go(fd), error = errno;
    record('s', failed, tracked(fd), 0, "", 0);
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}
int fsync(int fd) { REAL(fsync); return synced(real, fd); }
int fdatasync(int fd) { REAL(fdatasync); return synced(real, fd); }

int rename(const char *from, const char *to)
{
    char both[8192];
    int length = snprintf(both, sizeof both, "%s%c%s", from, 0, to);
    REAL(rename);
    CHANGED(int, below(from), real(from, to), record('r', 0, 0, 0, both, length));
}

int unlink(const char *path)
{
    REAL(unlink);
    CHANGED_UNLESS(fails_to_remove(), int, below(path), real(path), record('u', 0, 0, 0, path, strlen(path)));
}

int mkdir(const char *path, mode_t mode)
{
    REAL(mkdir);
    CHANGED(int, below(path), real(path, mode), record('k', 0, 0, 0, path, strlen(path)));
}
