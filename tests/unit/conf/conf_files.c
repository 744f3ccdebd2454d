/* unit/conf/conf_files.c - replays files beside what must come out: broken ones (the whole text of
 * their mistakes) and good ones (what is shown, which must read back as the same).
 * CONF_TEST_WRITE=1 in the environment writes the expectations anew, for a person to read before
 * they are kept. */
#include "unit/conf/test_conf.h"

#include "test.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NAME_OCTETS 300

static void
slurp(const char *path, struct buf *out)
{
	char block[4096];
	FILE *f = fopen(path, "rb");
	size_t n;

	buf_init(out, TEXT_MAX);
	if (f == NULL)
		return;
	while ((n = fread(block, 1, sizeof block, f)) > 0)
		CU_ASSERT_EQUAL(buf_append(out, block, n), 0);
	fclose(f);
}

/* What came out against what is in the file. */
static void
compare(const char *path, const struct buf *got)
{
	struct buf want;
	FILE *f;

	if (getenv("CONF_TEST_WRITE") != NULL) {
		f = fopen(path, "wb");
		CU_ASSERT_PTR_NOT_NULL_FATAL(f);
		fwrite(buf_span(got).p, 1, buf_size(got), f);
		fclose(f);
		return;
	}
	slurp(path, &want);
	CU_ASSERT(span_equal(buf_span(got), buf_span(&want)));
	if (!span_equal(buf_span(got), buf_span(&want)))
		printf("\n%s: came out as\n%.*s", path, (int)buf_size(got),
		       (const char *)buf_span(got).p);
	buf_fini(&want);
}

/* Calls f with "NAME.conf" and "NAME.SUFFIX" for each file of the folder, which is entered, so that
 * messages have names without a folder. */
static void
each_file(const char *folder, const char *suffix, unsigned at_least,
	  void (*f)(const char *path, const char *want))
{
	char cwd[4096], want[NAME_OCTETS];
	struct dirent **names;
	unsigned done = 0;
	size_t len;
	int i, n;

	CU_ASSERT_PTR_NOT_NULL_FATAL(getcwd(cwd, sizeof cwd));
	CU_ASSERT_EQUAL_FATAL(chdir(folder), 0);
	n = scandir(".", &names, NULL, alphasort);
	CU_ASSERT_FATAL(n >= 0);
	for (i = 0; i < n; i++) {
		len = strlen(names[i]->d_name);
		if (len > 5 && strcmp(names[i]->d_name + len - 5, ".conf") == 0) {
			snprintf(want, sizeof want, "%.*s.%s", (int)len - 5, names[i]->d_name,
				 suffix);
			f(names[i]->d_name, want);
			done++;
		}
		free(names[i]);
	}
	free(names);
	CU_ASSERT(done >= at_least);
	CU_ASSERT_EQUAL_FATAL(chdir(cwd), 0);
}

static void
broken_file(const char *path, const char *want)
{
	struct conf_errors *errors = conf_errors_new();
	struct conf *conf;
	struct buf out;

	CU_ASSERT_PTR_NOT_NULL_FATAL(errors);
	buf_init(&out, TEXT_MAX);
	CU_ASSERT_EQUAL(conf_load(path, &conf, errors), PT_EINVAL);
	CU_ASSERT_PTR_NULL(conf);
	CU_ASSERT(conf_errors_count(errors) > 0);
	CU_ASSERT_EQUAL(conf_errors_print(errors, &out), 0);
	compare(want, &out);
	buf_fini(&out);
	conf_errors_free(&errors);
}

void
test_broken_files(void)
{
	each_file(TEST_SRCDIR "/unit/conf/broken", "err", 60, broken_file);
}

/* Whether a line of conf_show() is a default that differs from machine to machine. */
static bool
depends_on_machine(const char *line)
{
	static const char *const names[] = { "hostname", "state", "workers", "pid-file", "socket" };
	const char *word = line + strspn(line, " ");
	size_t i;

	for (i = 0; i < PT_COUNT(names); i++)
		if (strncmp(word, names[i], strlen(names[i])) == 0)
			return strstr(line, "# default") != NULL;
	return false;
}

/* Appends a line with this folder as "@" and one blank before the comment. */
static void
append_line(struct buf *out, char *line, const char *cwd)
{
	char *comment = strstr(line, "  # "), *end, *p;

	if (comment != NULL) {
		end = comment + strspn(comment, " ");
		while (comment > line && comment[-1] == ' ')
			comment--;
		memmove(comment + 1, end, strlen(end) + 1);
	}
	while ((p = strstr(line, cwd)) != NULL) {
		*p = '\0';
		CU_ASSERT_EQUAL(buf_printf(out, "%s@", line), 0);
		line = p + strlen(cwd);
	}
	CU_ASSERT_EQUAL(buf_printf(out, "%s\n", line), 0);
}

/* What conf_show() says, without what differs from machine to machine. */
static void
normalise(const struct buf *shown, struct buf *out)
{
	char cwd[4096], *text, *line, *end;

	CU_ASSERT_PTR_NOT_NULL_FATAL(getcwd(cwd, sizeof cwd));
	text = strndup((const char *)buf_span(shown).p, buf_size(shown));
	CU_ASSERT_PTR_NOT_NULL_FATAL(text);
	for (line = text; *line != '\0'; line = end + 1) {
		end = line + strcspn(line, "\n");
		*end = '\0';
		if (!depends_on_machine(line))
			append_line(out, line, cwd);
	}
	free(text);
}

static bool
same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool
same_tls(const struct conf_tls *a, const struct conf_tls *b)
{
	size_t i;

	if (a == NULL || b == NULL)
		return a == b;
	if (a->nclient_ca != b->nclient_ca || a->ncerts != b->ncerts)
		return false;
	for (i = 0; i < a->nclient_ca; i++)
		if (!same_text(a->client_ca[i], b->client_ca[i]))
			return false;
	if (a->nclient_crl != b->nclient_crl)
		return false;
	for (i = 0; i < a->nclient_crl; i++)
		if (!same_text(a->client_crl[i], b->client_crl[i]))
			return false;
	return conf_tls_same_credentials(a, b) && same_text(a->name, b->name) &&
	       a->handshake_timeout_ms == b->handshake_timeout_ms &&
	       a->first_flight_timeout_ms == b->first_flight_timeout_ms &&
	       a->tickets == b->tickets && a->ticket_lifetime_ms == b->ticket_lifetime_ms;
}

static bool
same_service(const struct conf_service *a, const struct conf_service *b)
{
	size_t i;

	if (!same_text(a->name, b->name) || a->protocol != b->protocol ||
	    a->nlistens != b->nlistens || !same_tls(a->tls, b->tls) ||
	    a->max_connections != b->max_connections || a->max_per_address != b->max_per_address ||
	    a->idle_timeout_ms != b->idle_timeout_ms)
		return false;
	for (i = 0; i < a->nlistens; i++)
		if (!same_text(a->listens[i].text, b->listens[i].text) ||
		    a->listens[i].mode != b->listens[i].mode ||
		    a->listens[i].addr_len != b->listens[i].addr_len ||
		    memcmp(&a->listens[i].addr, &b->listens[i].addr, a->listens[i].addr_len) != 0)
			return false;
	return true;
}

static bool
same_conf(const struct conf *a, const struct conf *b)
{
	size_t i;

	if (!same_text(a->hostname, b->hostname) || !same_text(a->state, b->state) ||
	    a->workers != b->workers || a->log != b->log || !same_text(a->log_file, b->log_file) ||
	    a->log_format != b->log_format || a->drain_ms != b->drain_ms ||
	    a->stop_timeout_ms != b->stop_timeout_ms || a->linger_ms != b->linger_ms ||
	    a->max_connections != b->max_connections || !same_text(a->pid_file, b->pid_file) ||
	    !same_text(a->control_socket, b->control_socket) ||
	    !same_text(a->control_group, b->control_group) || a->ntls != b->ntls ||
	    a->nmaps != b->nmaps || a->nservices != b->nservices || a->ndomains != b->ndomains ||
	    !same_text(a->postmaster, b->postmaster) || !same_text(a->users_file, b->users_file) ||
	    !same_text(a->impersonate, b->impersonate))
		return false;
	for (i = 0; i < a->ndomains; i++)
		if (!same_text(a->domains[i], b->domains[i]))
			return false;
	for (i = 0; i < a->ntls; i++)
		if (!same_tls(&a->tls[i], &b->tls[i]))
			return false;
	for (i = 0; i < a->nmaps; i++)
		if (a->maps[i].kind != b->maps[i].kind ||
		    !same_text(a->maps[i].from, b->maps[i].from))
			return false;
	for (i = 0; i < a->nservices; i++)
		if (!same_service(&a->services[i], &b->services[i]))
			return false;
	return true;
}

/* What is shown, with and without origins, reads back as the same configuration, from no folder. */
static void
round_trip(const struct conf *conf, bool origins)
{
	struct conf_errors *errors = conf_errors_new();
	struct buf shown, again;
	struct conf *copy;

	CU_ASSERT_PTR_NOT_NULL_FATAL(errors);
	buf_init(&shown, TEXT_MAX);
	buf_init(&again, TEXT_MAX);
	CU_ASSERT_EQUAL(conf_show(conf, origins, &shown), 0);
	CU_ASSERT_EQUAL(conf_parse("shown", NULL, buf_span(&shown), &copy, errors), 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(copy);
	CU_ASSERT(same_conf(conf, copy));
	CU_ASSERT_EQUAL(conf_show(copy, false, &again), 0);
	if (!origins)
		CU_ASSERT(span_equal(buf_span(&shown), buf_span(&again)));
	conf_free(&copy);
	buf_fini(&shown);
	buf_fini(&again);
	conf_errors_free(&errors);
}

static struct conf *
load(const char *path)
{
	struct conf_errors *errors = conf_errors_new();
	struct conf *conf;
	struct buf out;

	CU_ASSERT_PTR_NOT_NULL_FATAL(errors);
	buf_init(&out, TEXT_MAX);
	CU_ASSERT_EQUAL(conf_load(path, &conf, errors), 0);
	CU_ASSERT_EQUAL(conf_errors_count(errors), 0);
	CU_ASSERT_EQUAL(conf_errors_print(errors, &out), 0);
	if (buf_size(&out) > 0)
		printf("\n%.*s", (int)buf_size(&out), (const char *)buf_span(&out).p);
	buf_fini(&out);
	conf_errors_free(&errors);
	return conf;
}

static void
good_file(const char *path, const char *want)
{
	struct conf *conf = load(path);
	struct buf shown, out;

	if (conf == NULL)
		return;
	buf_init(&shown, TEXT_MAX);
	buf_init(&out, TEXT_MAX);
	CU_ASSERT_STRING_EQUAL(conf->file, path);
	CU_ASSERT_EQUAL(conf_show(conf, true, &shown), 0);
	normalise(&shown, &out);
	compare(want, &out);
	buf_fini(&shown);
	buf_fini(&out);
	round_trip(conf, false);
	round_trip(conf, true);
	conf_free(&conf);
}

void
test_good_files(void)
{
	each_file(TEST_SRCDIR "/unit/conf/good", "out", 15, good_file);
}

/* As installed it is valid, and serves nothing. */
void
test_shipped_file(void)
{
	struct conf *conf = load(TEST_SRCDIR "/../etc/postern.conf");

	CU_ASSERT_PTR_NOT_NULL_FATAL(conf);
	CU_ASSERT_EQUAL(conf->nservices, 0);
	conf_free(&conf);
}
