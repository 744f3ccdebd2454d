/* proc/keyfile.c - see keyfile.h. */
#include "proc/keyfile.h"

#include "proc/files.h"
#include "tls/tls_check.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void
key_files_init(struct key_files *f)
{
	*f = (struct key_files){ .cert_fd = -1, .key_fd = -1, .pass_fd = -1 };
}

static void
close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void
key_files_close(struct key_files *f)
{
	close_fd(&f->cert_fd);
	close_fd(&f->key_fd);
	close_fd(&f->pass_fd);
}

struct warned {
	key_warn_f *warn;
	void *arg;
	const char *path;
};

static void
on_check(void *arg, const char *text)
{
	const struct warned *w = arg;

	w->warn(w->arg, w->path, text);
}

static void
warn_of_mode(const char *path, int fd, key_warn_f *warn, void *arg)
{
	const char *text = fd >= 0 ? file_mode_warning(fd) : NULL;

	if (text != NULL)
		warn(arg, path, text);
}

/* What is worth a word in files that are good. */
static void
say_warnings(const struct key_files *f, struct span cert, struct span key, struct span chain, uint64_t now,
	     key_warn_f *warn, void *arg)
{
	struct warned w = { warn, arg, f->cert_path };

	tls_check_chain(chain, now, on_check, &w);
	if (f->key_fd >= 0)
		warn_of_mode(f->key_path, f->key_fd, warn, arg);
	else
		warn_of_mode(f->cert_path, f->cert_fd, warn, arg);
	warn_of_mode(f->pass_path, f->pass_fd, warn, arg);
	if (f->pass_fd >= 0 && !tls_key_is_encrypted(cert, key))
		warn(arg, f->key_fd >= 0 ? f->key_path : f->cert_path, "has a passphrase in the configuration, but "
			"the private key in it is not encrypted");
}

struct octets {
	struct buf cert, key, pass;
};

static int
read_all(const struct key_files *f, struct octets *o, struct diag *diag)
{
	int rc = file_slurp(f->cert_fd, &o->cert, diag);

	if (rc == 0 && f->key_fd >= 0)
		rc = file_slurp(f->key_fd, &o->key, diag);
	if (rc == 0 && f->pass_fd >= 0)
		rc = file_slurp(f->pass_fd, &o->pass, diag);
	return rc;
}

int
key_files_load(const struct key_files *f, uint64_t now, struct tls_key **key_out, struct buf *chain_out,
	       key_warn_f *warn, void *arg, struct diag *diag)
{
	char pass[TLS_PASSPHRASE_MAX + 1];
	struct span cert, key;
	struct octets o;
	int rc;

	*key_out = NULL;
	buf_init(&o.cert, TLS_FILE_MAX);
	buf_init(&o.key, TLS_FILE_MAX);
	buf_init(&o.pass, TLS_PASSPHRASE_FILE_MAX);
	rc = read_all(f, &o, diag);
	cert = buf_span(&o.cert);
	key = f->key_fd >= 0 ? buf_span(&o.key) : cert;
	if (rc == 0 && f->pass_fd >= 0)
		rc = tls_passphrase_read(buf_span(&o.pass), pass, diag);
	if (rc == 0)
		rc = tls_key_load(cert, key, f->pass_fd >= 0 ? pass : NULL, key_out, chain_out, diag);
	if (rc == 0)
		say_warnings(f, cert, key, buf_span(chain_out), now, warn, arg);
	else
		diag_prefix(diag, "certificate %s%s%s%s%s", f->cert_path, f->key_path != NULL ? ", key " : "",
			f->key_path != NULL ? f->key_path : "", f->pass_path != NULL ? ", passphrase " : "",
			f->pass_path != NULL ? f->pass_path : "");
	explicit_bzero(pass, sizeof pass);
	buf_wipe(&o.cert);
	buf_wipe(&o.key);
	buf_wipe(&o.pass);
	return rc;
}
