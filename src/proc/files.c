/* proc/files.c - see files.h. */
#include "proc/files.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

int
file_slurp(int fd, struct buf *out, struct diag *diag)
{
	uint8_t chunk[8192];
	off_t at = 0;
	ssize_t n;
	int rc = 0;

	while (rc == 0) {
		n = pread(fd, chunk, sizeof chunk, at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			rc = diag_set(diag, PT_EIO, "cannot read it: %s", strerror(errno));
		if (n <= 0)
			break;
		at += n;
		if ((rc = buf_append(out, chunk, (size_t)n)) == PT_ETOOBIG)
			diag_set(diag, rc, "it is larger than %zu octets", out->max);
	}
	explicit_bzero(chunk, sizeof chunk); /* it may have been a key */
	return rc;
}

const char *
file_mode_warning(int fd)
{
	struct stat st;

	if (fstat(fd, &st) != 0 || (st.st_mode & (S_IRGRP | S_IROTH | S_IWGRP | S_IWOTH)) == 0)
		return NULL;
	return (st.st_mode & (S_IROTH | S_IWOTH)) != 0
		? "holds a secret (a private key, or its passphrase) that everybody on this machine can read or change; "
		  "chmod 0600"
		: "holds a secret (a private key, or its passphrase) that its group can read or change; chmod 0600";
}

int
memfd_sealed(const char *name, struct span octets, int *fd_out)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	size_t at = 0;
	ssize_t n;

	*fd_out = -1;
	if (fd < 0)
		return PT_EIO;
	while (at < octets.n) {
		n = write(fd, octets.p + at, octets.n - at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			goto fail;
		at += (size_t)n;
	}
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) != 0)
		goto fail;
	*fd_out = fd;
	return 0;
fail:
	close(fd);
	return PT_EIO;
}

void
descriptors_raise(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) == 0) {
		r.rlim_cur = r.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &r);
	}
}
