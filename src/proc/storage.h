/* proc/storage.h - the parent's part of the store: its folders, made and opened, and passed to it when it starts. */
#ifndef PROC_STORAGE_H
#define PROC_STORAGE_H

#include "conf/conf.h"
#include "util/diag.h"

#include <sys/types.h>

/* The folders, in the order in which the store finds them as descriptors (ROLE_FD_FOLDER and up). */
enum storage_folder { STORAGE_JOURNAL, STORAGE_KEYS, STORAGE_QUEUE, STORAGE_MAIL, STORAGE_FOLDERS };

/* Makes what is not there, for uid and gid (0: as we are), and opens it. fds_out: -1 where it failed. */
int storage_open(const struct conf *conf, uid_t uid, gid_t gid, int fds_out[STORAGE_FOLDERS],
		 struct diag *diag) PT_MUST_USE;

void storage_close(int fds[STORAGE_FOLDERS]);

#endif
