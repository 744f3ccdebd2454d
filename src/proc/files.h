/* proc/files.h - small files and sealed memory, by descriptor. */
#ifndef PROC_FILES_H
#define PROC_FILES_H

#include "util/buf.h"
#include "util/diag.h"

/* Reads the whole file from its beginning (pread: descriptors are shared between processes, their
 * offsets must not matter) into out, up to out's maximum. PT_ETOOBIG, PT_EIO, PT_ENOMEM. */
int file_slurp(int fd, struct buf *out, struct diag *diag) PT_MUST_USE;

/* What is wrong with the mode of a file that holds a private key or a passphrase; NULL: nothing. Static. */
const char *file_mode_warning(int fd);

/* As many descriptors as this process may have: an idle connection is one of them. */
void descriptors_raise(void);

/* A memfd with these octets that can no longer be changed. */
int memfd_sealed(const char *name, struct span octets, int *fd_out) PT_MUST_USE;

#endif
