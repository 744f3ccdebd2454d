/* proc/keyfile.h - the files of a certificate directive become a key: for the keyholder, and for posternd -n. */
#ifndef PROC_KEYFILE_H
#define PROC_KEYFILE_H

#include "tls/tls_key.h"

struct key_files {
	char *cert_path, *key_path, *pass_path; /* NULL: none */
	int cert_fd, key_fd, pass_fd;           /* -1: none */
};

/* Something to be said of one of the files, which can be used all the same. */
typedef void key_warn_f(void *arg, const char *path, const char *text);

/* Reads and loads; key_out and chain_out as tls_key_load() has them. All that was read is wiped. now in seconds of the
 * epoch. PT_EINVAL and what file_slurp() returns, with a sentence in diag that names the files. */
int key_files_load(const struct key_files *f, uint64_t now, struct tls_key **key_out, struct buf *chain_out,
		   key_warn_f *warn, void *arg, struct diag *diag) PT_MUST_USE;

/* None, and nothing open. */
void key_files_init(struct key_files *f);

/* Closes the descriptors and leaves the paths, which are for messages. */
void key_files_close(struct key_files *f);

#endif
