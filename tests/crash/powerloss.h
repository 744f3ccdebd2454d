/* tests/crash/powerloss.h - the recording that powerloss.c writes and powerloss.py reads.
 *
 * A file of fixed size, mapped by every recorded process: a header, then records of 320 octets in the order in which
 * they began. A record is taken by one atomic addition, filled, and marked as whole last. */
#ifndef CRASH_POWERLOSS_H
#define CRASH_POWERLOSS_H

#include <stdatomic.h>
#include <stdint.h>

#define POWERLOSS_MAGIC 0x31534f4c52575031ull /* "1PWRLOS1" */
#define POWERLOSS_RECORDS (1u << 20)
#define POWERLOSS_NAME 96 /* octets of a path below a folder, with the NUL */

enum powerloss_kind {
	POWERLOSS_WRITE = 1, /* a: offset, b: octets; recorded before it is done */
	POWERLOSS_TRUNCATE,  /* a: the size before, b: the size after */
	POWERLOSS_FLUSH,     /* of one file or folder; done: it has returned without an error */
	POWERLOSS_SYNCFS,    /* of a whole file system */
	POWERLOSS_CREATE,    /* name in folder dir */
	POWERLOSS_LINK,      /* name2 in folder dir2 is a new name */
	POWERLOSS_RENAME,    /* name in dir became name2 in dir2; b: grave of what stood there, 0: nothing did */
	POWERLOSS_UNLINK,    /* name in dir; b: grave */
	POWERLOSS_MKDIR,
	POWERLOSS_RMDIR,     /* ino: of the one that goes */
};

struct powerloss_record {
	_Atomic uint32_t whole;
	uint32_t kind;
	_Atomic uint32_t done;
	uint32_t failed;
	uint64_t dev, ino;       /* of the file; WRITE, TRUNCATE, FLUSH, SYNCFS; of the folder */
	uint64_t dir, dir2;      /* inodes of folders; 0: names are absolute */
	uint64_t a, b;
	uint64_t thread;
	_Atomic uint64_t end;    /* how many records had begun when it had returned: a flush that began later covers it. 0: it has not */
	uint64_t process;
	char name[POWERLOSS_NAME];
	char name2[POWERLOSS_NAME];
	uint8_t unused[40];
};

_Static_assert(sizeof(struct powerloss_record) == 320, "powerloss.py reads 320");

struct powerloss_header {
	uint64_t magic;
	_Atomic uint64_t next;   /* record to be taken */
	_Atomic uint64_t graves; /* files that were kept because their last name went */
	uint8_t unused[296];
};

#endif
