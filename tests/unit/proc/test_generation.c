/* unit/proc/test_generation.c - a configuration with its open files and sockets: all or nothing, and nothing stays
 * open. */
#include "test.h"

#include "proc/files.h"
#include "proc/parent.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/postern-gen-XXXXXX";

static void
put_file(const char *name)
{
	char path[128];
	int fd;

	snprintf(path, sizeof path, "%s/%s", folder, name);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	CU_ASSERT_EQUAL_FATAL(write(fd, name, strlen(name)), (ssize_t)strlen(name));
	close(fd);
}

static void
remove_file(const char *name)
{
	char path[128];

	snprintf(path, sizeof path, "%s/%s", folder, name);
	unlink(path);
}

/* Parses; every "@" in the text stands for the folder. */
static struct conf *
parse(const char *text)
{
	struct conf_errors *errors = conf_errors_new();
	struct conf *conf = NULL;
	struct buf b, why;

	buf_init(&b, 65536);
	buf_init(&why, 65536);
	for (; *text != '\0'; text++)
		CU_ASSERT_EQUAL(*text == '@' ? buf_append_str(&b, folder) : buf_append(&b, text, 1), 0);
	if (conf_parse("test", NULL, buf_span(&b), &conf, errors) != 0) {
		CU_ASSERT_EQUAL(conf_errors_print(errors, &why), 0);
		fprintf(stderr, "\n%.*s\n", (int)buf_size(&why), (const char *)buf_span(&why).p);
		CU_FAIL_FATAL("the configuration of a test is wrong");
	}
	buf_fini(&b);
	buf_fini(&why);
	conf_errors_free(&errors);
	return conf;
}

#define CERTS "  certificate @/cert key @/key\n"
#define ASKED "  client-certificate request\n"
#define BLOCK(lines) "tls main {\n" lines "}\n"
#define TLS BLOCK(CERTS "  certificate @/both\n" ASKED "  client-ca @/ca\n")
#define SERVICE(name, path)                                                                        \
	"service " name " {\n  protocol line\n  listen unix:@/" path "\n  tls main\n}\n"
#define PLAIN(name, path) "service " name " {\n  protocol line\n  listen unix:@/" path " plain\n}\n"

static void
test_begin(void)
{
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
	put_file("cert");
	put_file("key");
	put_file("both");
	put_file("ca");
}

static void
check_file(int fd, const char *text)
{
	struct buf b;

	buf_init(&b, 100);
	CU_ASSERT_EQUAL(fcntl(fd, F_GETFD), FD_CLOEXEC);
	CU_ASSERT_EQUAL(file_slurp(fd, &b, NULL), 0);
	CU_ASSERT_TRUE(span_equal(buf_span(&b), span_str(text)));
	buf_fini(&b);
}

static void
test_good(void)
{
	unsigned before = test_open_fds();
	struct diag diag = { "" };
	struct generation *g;

	/* two services with the same certificates: each is opened once */
	if (generation_new(parse(TLS SERVICE("a", "a") SERVICE("b", "b") PLAIN(
		    "c", "c")), 5, NULL, true, &g, &diag) != 0)
		CU_FAIL_FATAL(diag.text);
	CU_ASSERT_EQUAL(g->number, 5);
	CU_ASSERT_EQUAL(g->cred->ncerts, 2);
	check_file(g->cred->certs[0].cert_fd, "cert");
	check_file(g->cred->certs[0].key_fd, "key");
	check_file(g->cred->certs[1].cert_fd, "both");
	CU_ASSERT_EQUAL(g->cred->certs[1].key_fd, -1);
	CU_ASSERT_EQUAL(g->cred->certs[1].chain_fd, -1);
	CU_ASSERT_EQUAL(generation_key(g, &g->conf->services[1].tls->certs[1]), 1);
	CU_ASSERT_EQUAL(g->cred->nfiles, 2); /* the CA, for each of the two */
	check_file(g->cred->files[0].fd, "ca");
	CU_ASSERT_EQUAL(g->cred->files[1].kind, CRED_CLIENT_CA);
	CU_ASSERT_EQUAL(g->cred->files[1].set, 1);
	CU_ASSERT_EQUAL(g->nlisteners, 3);
	CU_ASSERT_EQUAL(g->listeners[2].service, 2);
	CU_ASSERT_TRUE(fcntl(g->conf_fd, F_GET_SEALS) & F_SEAL_WRITE);
	generation_close_listeners(g);
	CU_ASSERT_EQUAL(g->listeners[0].fd, -1);
	generation_close_listeners(g);
	generation_free(&g);
	CU_ASSERT_PTR_NULL(g);
	generation_free(&g);
	CU_ASSERT_EQUAL(test_open_fds(), before);
	/* a check binds nothing */
	CU_ASSERT_EQUAL(generation_new(parse(TLS SERVICE("a", "x")), 1, NULL, false, &g, &diag),
		0);
	CU_ASSERT_EQUAL(g->nlisteners, 0);
	generation_free(&g);
	CU_ASSERT_EQUAL(test_open_fds(), before);
}

static void
test_bad(void)
{
	static const struct {
		const char *text, *says;
		int rc;
	} rows[] = {
		{ "# nothing\n", "has no service", PT_EINVAL },
		{ BLOCK("  certificate @/none key @/key\n") SERVICE("a", "a"),
			"cannot open", PT_ENOENT },
		{ BLOCK("  certificate @/cert key @/none\n") SERVICE("a", "a"),
			"/none: No such file", PT_ENOENT },
		{ BLOCK("  certificate @/cert key @/fifo\n") SERVICE("a", "a"),
			"/fifo is not a file", PT_EINVAL },
		{ BLOCK("  certificate @ key @/key\n") SERVICE("a", "a"), "is not a file",
			PT_EINVAL },
		{ BLOCK(CERTS ASKED "  client-ca @/none\n")
			SERVICE("a", "a"), "/none", PT_ENOENT },
		{ TLS "identity {\n  map san-email from @/none\n}\n" SERVICE("a", "a"), "/none",
			PT_ENOENT },
		/* the last listener fails: the first is closed again */
		{ TLS SERVICE("a", "a") PLAIN("b", "no/folder/b"), "cannot listen on", PT_EIO },
		{ TLS SERVICE("a", "a") PLAIN("b", "cert"), "another program", PT_EBUSY },
	};
	struct generation *g;
	unsigned before;
	struct diag diag;
	char path[128];
	size_t i;
	int rc;

	snprintf(path, sizeof path, "%s/fifo", folder);
	CU_ASSERT_EQUAL(mkfifo(path, 0600), 0);
	before = test_open_fds();
	for (i = 0; i < PT_COUNT(rows); i++) {
		diag.text[0] = '\0';
		rc = generation_new(parse(rows[i].text), 1, NULL, true, &g, &diag);
		if (rc != rows[i].rc || strstr(diag.text, rows[i].says) == NULL)
			fprintf(stderr, "\nrow %zu: %d, %s\n", i, rc, diag.text);
		CU_ASSERT_EQUAL(rc, rows[i].rc);
		CU_ASSERT_PTR_NOT_NULL(strstr(diag.text, rows[i].says));
		CU_ASSERT_PTR_NULL(g);
		CU_ASSERT_EQUAL(test_open_fds(), before);
	}
}

static ino_t
inode(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 ? st.st_ino : 0;
}

/* A listener that stays is the same socket: not one connection is refused. */
static void
test_inherited(void)
{
	unsigned before = test_open_fds();
	struct generation *one, *two, *three;
	struct diag diag;

	CU_ASSERT_EQUAL_FATAL(generation_new(parse(PLAIN("a", "a") PLAIN("b", "b")), 1, NULL, true, &one,
		&diag), 0);
	/* in another order, under another service's name, with one more */
	CU_ASSERT_EQUAL_FATAL(generation_new(parse(PLAIN("z", "b") PLAIN("c", "c") PLAIN("a", "a")), 2, one,
		true, &two, &diag), 0);
	CU_ASSERT_EQUAL(inode(two->listeners[0].fd), inode(one->listeners[1].fd));
	CU_ASSERT_EQUAL(inode(two->listeners[2].fd), inode(one->listeners[0].fd));
	CU_ASSERT_NOT_EQUAL(two->listeners[0].fd, one->listeners[1].fd); /* a descriptor of its own */
	CU_ASSERT_EQUAL(fcntl(two->listeners[0].fd, F_GETFD), FD_CLOEXEC);
	generation_free(&one);
	/* an error leaves what is running untouched */
	CU_ASSERT_EQUAL(generation_new(parse(PLAIN("a", "a") PLAIN("b", "no/b")), 3, two, true, &three, &diag),
		PT_EIO);
	CU_ASSERT_TRUE(inode(two->listeners[2].fd) != 0);
	generation_free(&two);
	CU_ASSERT_EQUAL(test_open_fds(), before);
}

static void
test_end(void)
{
	static const char *const names[] = { "cert", "key", "both", "ca", "fifo", "a", "b", "c" };
	size_t i;

	for (i = 0; i < PT_COUNT(names); i++)
		remove_file(names[i]);
	CU_ASSERT_EQUAL(rmdir(folder), 0);
}

static const struct test_row rows[] = {
	{ "a folder", test_begin },
	{ "files and sockets", test_good },
	{ "an error leaves nothing open", test_bad },
	{ "listeners that stay", test_inherited },
	{ "nothing stays behind", test_end },
};
TEST_MAIN("proc/generation", rows)
