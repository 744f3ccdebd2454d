/* store/nursery.h - where new files are made, before they are renamed to their places: in a folder in which that is quick.
 *
 * ext4 gives a file an inode near its folder's and passes over those that were freed in the last minutes, after a look at each:
 * where some ten thousand files have just been removed, making one takes 400 to 800 us of CPU instead of 8. A folder's own inode lies
 * near its parent's, unless that is marked as the top of trees that have nothing to do with each other (EXT4_TOPDIR_FL,
 * `chattr +T`): folders in such a one are spread over the whole device. So the top is marked, files are made in a folder
 * `fresh-<8 hex>` in it, and when making them there gets slow another takes its place. File systems without the mark are never slow in
 * this way; there all files are made in the top itself.
 *
 * What is in these folders belongs to nobody but who is making it: a process removes what others have left, and makes another folder
 * where somebody has removed its own. May be used by any thread. */
#ifndef STORE_NURSERY_H
#define STORE_NURSERY_H

#include "util/err.h"

#include <stdbool.h>
#include <stdint.h>

#define NURSERY_PREFIX "fresh-"
#define NURSERY_SLOW_NS 100000 /* CPU for each file, of late, that is slow */
#define NURSERY_LOOK_FIRST 16  /* so many files are made in a folder before it is judged; twice as many in each that is no better ... */
#define NURSERY_LOOK_MAX 16384 /* ... up to this: where all of the device is slow, looking for a better place costs nothing */

struct nursery;
struct nursery_folder;

/* What a file cost: CPU of the calling thread in ns, which goes up. */
typedef uint64_t nursery_clock_f(void);

/* A file being made. `folder` with its name is what to rename. */
struct nursery_file {
	int fd;     /* writes; -1: closed already */
	int folder; /* borrowed */
	struct nursery_folder *in;
};

/* top_fd is borrowed. clock NULL: that of the thread. Only one process at a time has a top. NULL: out of memory. */
struct nursery *nursery_open(int top_fd, nursery_clock_f *clock);

/* No file is being made any more. NULL is fine; sets the pointer to NULL. */
void nursery_close(struct nursery **n);

/* Makes a file of that name, which nobody else uses at the same time; what was there under it is gone. 0, then nursery_done() must follow; PT_EFULL,
 * PT_EIO. */
int nursery_make(struct nursery *n, const char *name, struct nursery_file *f_out) PT_MUST_USE;

/* Closes it, if it is open. NULL: it has been renamed; else it goes. */
void nursery_done(struct nursery *n, struct nursery_file *f, const char *name);

#endif
