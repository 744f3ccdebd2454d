/* unit/cli/test_cli.c - what the commands print, and the configuration that setup writes. */
#include "test.h"

#include "cli/cli.h"
#include "cli/cli_table.h"
#include "cli/setup.h"
#include "conf/conf.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void
test_shell_quote(void)
{
	static const struct {
		const char *in, *out;
	} rows[] = {
		{ "", "''" },         { "/etc/postern/postern.conf", "/etc/postern/postern.conf" },
		{ "a b", "'a b'" },   { "it's", "'it'\\''s'" },
		{ "'", "''\\'''" },   { "$HOME", "'$HOME'" },
		{ "~", "'~'" },       { "a\nb", "'a\nb'" },
		{ "a\\b", "'a\\b'" }, { "\xc3\xa4", "'\xc3\xa4'" },
	};
	struct buf out;
	size_t i;

	for (i = 0; i < PT_COUNT(rows); i++) {
		buf_init(&out, 100);
		CU_ASSERT_EQUAL(cli_shell_quote(&out, rows[i].in), 0);
		CU_ASSERT(span_equal(buf_span(&out), span_str(rows[i].out)));
		buf_fini(&out);
	}
}

static void
test_json_string(void)
{
	static const struct {
		const char *in, *out;
	} rows[] = {
		{ "", "" },
		{ "plain", "plain" },
		{ "\xc3\xa4", "\xc3\xa4" },
		{ "a\xff" "b", "a?b" },
		{ "\xc3", "?" },
	};
	json_t *j;
	size_t i;

	for (i = 0; i < PT_COUNT(rows); i++) {
		j = cli_json_string(rows[i].in);
		CU_ASSERT_PTR_NOT_NULL_FATAL(j);
		CU_ASSERT_STRING_EQUAL(json_string_value(j), rows[i].out);
		json_decref(j);
	}
}

static void
test_table(void)
{
	static const struct cli_column columns[] = {
		{ "NAME", false }, { "N", true }, { "", false }
	};
	static const char expected[] = "NAME        N\n"
				       "a           7  x\n"
				       "b\xc3\xa4"
				       "b     12345\n"
				       "longer     -1  y z\n"
				       "end\n";
	struct cli_table *t = cli_table_new(columns, PT_COUNT(columns));
	struct buf out;

	CU_ASSERT_PTR_NOT_NULL_FATAL(t);
	cli_table_cell(t, "a");
	cli_table_number(t, 7);
	cli_table_cell(t, "x");
	cli_table_cell(t, "b\xc3\xa4"
			  "b"); /* two octets, one character wide */
	cli_table_number(t, 12345);
	cli_table_cell(t, "");
	cli_table_cell(t, "longer");
	cli_table_number(t, -1);
	cli_table_cell(t, "y z");
	cli_table_cell(t, "end"); /* a row that stops short */
	buf_init(&out, 1000);
	CU_ASSERT_EQUAL(cli_table_print(t, &out), 0);
	CU_ASSERT(span_equal(buf_span(&out), span_str(expected)));
	buf_fini(&out);
	buf_init(&out, 20); /* what does not fit is told, not cut */
	CU_ASSERT_EQUAL(cli_table_print(t, &out), PT_ETOOBIG);
	buf_fini(&out);
	cli_table_free(&t);
	CU_ASSERT_PTR_NULL(t);
}

static void
check_setup_services(const struct setup *s, const struct conf *conf)
{
	static const enum conf_protocol protocols[] = { CONF_PROTOCOL_SMTP, CONF_PROTOCOL_SUBMISSION, CONF_PROTOCOL_LMTP,
		CONF_PROTOCOL_LINE };
	static const unsigned ports[] = { 2525, 5870, 0, 7780 };
	size_t i;

	CU_ASSERT_EQUAL_FATAL(conf->nservices, PT_COUNT(protocols));
	for (i = 0; i < PT_COUNT(protocols); i++) {
		CU_ASSERT_EQUAL(conf->services[i].protocol, protocols[i]);
		CU_ASSERT(ports[i] == 0 || ntohs(conf->services[i].listens[0].addr.in.sin_port) == ports[i]);
		CU_ASSERT_EQUAL(conf->services[i].listens[0].mode, i == 1 || i == 3 ? CONF_LISTEN_STARTTLS_REQUIRED
			: CONF_LISTEN_STARTTLS);
	}
	CU_ASSERT_EQUAL(conf->services[1].nlistens, s->ipv6 ? 4 : 2);
	CU_ASSERT_STRING_EQUAL(conf->hostname, s->hostname);
	CU_ASSERT_STRING_EQUAL(conf->postmaster, s->postmaster);
	CU_ASSERT_STRING_EQUAL(conf->users_file, s->users);
	CU_ASSERT_STRING_EQUAL(conf->mail, s->mail);
	CU_ASSERT_EQUAL_FATAL(conf->ndomains, 2);
	CU_ASSERT_STRING_EQUAL(conf->domains[1], s->domains[1]);
	CU_ASSERT_EQUAL(conf->services[1].tls->nclient_ca, s->client_ca != NULL);
	if (s->client_ca != NULL)
		CU_ASSERT_STRING_EQUAL(conf->services[1].tls->client_ca[0], s->client_ca);
}

/* Whatever the folder is called, what setup writes is read back as what was meant. */
static void
test_setup_text(void)
{
	static const char *const folders[] = {
	    "/etc/postern", "/tmp/a b",         "/tmp/\"q\"", "/tmp/back\\slash",
	    "/tmp/$name",   "/tmp/#no-comment", "/tmp/{}",    "/tmp/\xc3\xa4" };
	struct setup s;
	struct conf_errors *errors;
	struct conf *conf;
	struct buf text;
	size_t i;

	for (i = 0; i < PT_COUNT(folders); i++) {
		struct cli cli = { .conf_file = "-", .conf_given = true };
		struct diag diag = { "" };
		char file[100];

		snprintf(file, sizeof file, "%s/no-such-folder/x.conf", folders[i]);
		cli.conf_file = file;
		s = (struct setup){ .cli = &cli, .ports = { 7780, 2525, 5870, 4650 }, .ndomains = 2,
			.domains = { "example.org", "xn--bcher-kva.example" }, .postmaster = "o'neil@example.org",
			.hostname = "mail.example.org", .ipv6 = i % 2 == 1 };
		CU_ASSERT_EQUAL_FATAL(setup_conf_paths(&s, &diag), 0);
		CU_ASSERT(s.local);
		CU_ASSERT(i % 3 == 0 || asprintf(&s.client_ca, "%s/ca.pem", folders[i]) > 0);
		buf_init(&text, CONF_FILE_MAX);
		CU_ASSERT_EQUAL_FATAL(setup_conf_text(&s, &text), 0);
		CU_ASSERT_PTR_NOT_NULL_FATAL(errors = conf_errors_new());
		conf = NULL;
		CU_ASSERT_EQUAL(conf_parse("test", NULL, buf_span(&text), &conf, errors), 0);
		if (conf != NULL) {
			CU_ASSERT_STRING_EQUAL(conf->state, s.state);
			CU_ASSERT_STRING_EQUAL(conf->pid_file, s.pid_file);
			CU_ASSERT_STRING_EQUAL(conf->control_socket, s.socket);
			CU_ASSERT_STRING_EQUAL(conf->services[0].tls->certs[0].certificate,
					       s.certificate);
			CU_ASSERT_STRING_EQUAL(conf->services[0].tls->certs[0].key, s.key);
			check_setup_services(&s, conf);
			s.conf = conf;
			CU_ASSERT(setup_conf_uses_ours(&s));
		}
		conf_errors_free(&errors);
		buf_fini(&text);
		s.conf = NULL;
		conf_free(&conf);
		setup_fini(&s);
	}
}

static void
test_setup_paths_refused(void)
{
	static const char *const files[] = { "",     "/",           "/tmp/",      ".",
					    "a/..", "/tmp/a\nb/x", "/tmp/\xff/x" };
	struct diag diag;
	size_t i;

	for (i = 0; i < PT_COUNT(files); i++) {
		struct cli cli = { .conf_file = files[i], .conf_given = true };
		struct setup s = { .cli = &cli };

		diag.text[0] = '\0';
		CU_ASSERT_EQUAL(setup_conf_paths(&s, &diag), PT_EINVAL);
		CU_ASSERT_NOT_EQUAL(diag.text[0], '\0');
		setup_fini(&s);
	}
}

static void
test_setup_files_write(void)
{
	char folder[] = "setup.XXXXXX", path[64];
	struct diag diag;
	struct stat st;
	struct buf text;

	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
	snprintf(path, sizeof path, "%s/file", folder);
	CU_ASSERT_EQUAL(setup_files_write(path, 0600, span_str("one"), false, &diag), 0);
	CU_ASSERT_EQUAL(stat(path, &st), 0);
	CU_ASSERT_EQUAL(st.st_mode & 07777, 0600);
	/* what is there stays, and no draft is left behind */
	CU_ASSERT_EQUAL(setup_files_write(path, 0600, span_str("two"), false, &diag), PT_EIO);
	CU_ASSERT_EQUAL(setup_files_read(path, 100, &text, &diag), 0);
	CU_ASSERT(span_equal(buf_span(&text), span_str("one")));
	buf_fini(&text);
	CU_ASSERT_EQUAL(setup_files_write(path, 0644, span_str("three"), true, &diag), 0);
	CU_ASSERT_EQUAL(setup_files_read(path, 5, &text, &diag), 0);
	CU_ASSERT(span_equal(buf_span(&text), span_str("three")));
	buf_fini(&text);
	CU_ASSERT_EQUAL(setup_files_read(path, 4, &text, &diag), PT_ETOOBIG);
	CU_ASSERT_EQUAL(unlink(path), 0);
	CU_ASSERT_EQUAL(setup_files_read(path, 4, &text, &diag), PT_ENOENT);
	CU_ASSERT_EQUAL(rmdir(folder), 0); /* it is empty */
}

static void
test_setup_credentials(void)
{
	char folder[] = "setup.XXXXXX", key[64], certificate[64];
	struct setup s = { .key = key, .certificate = certificate };
	struct diag diag;
	struct stat st;
	size_t i;

	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
	snprintf(key, sizeof key, "%s/server.key", folder);
	snprintf(certificate, sizeof certificate, "%s/server.pem", folder);
	CU_ASSERT_EQUAL(setup_files_credentials(&s, &diag), 0);
	CU_ASSERT_EQUAL(s.nitems, 2);
	CU_ASSERT(setup_changed(&s));
	CU_ASSERT(stat(key, &st) == 0 && (st.st_mode & 07777) == 0600 && st.st_size > 100);
	CU_ASSERT(stat(certificate, &st) == 0 && (st.st_mode & 07777) == 0644 && st.st_size > 100);
	for (i = 0; i < s.nitems; i++)
		free(s.items[i].name);
	s.nitems = 0;
	CU_ASSERT_EQUAL(setup_files_credentials(&s, &diag), 0);
	CU_ASSERT(!setup_changed(&s));
	for (i = 0; i < s.nitems; i++)
		free(s.items[i].name);
	s.nitems = 0;
	CU_ASSERT_EQUAL(unlink(certificate), 0); /* one without the other */
	CU_ASSERT_EQUAL(setup_files_credentials(&s, &diag), PT_EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(diag.text, certificate));
	CU_ASSERT_EQUAL(unlink(key), 0);
	CU_ASSERT_EQUAL(rmdir(folder), 0);
}

static const struct test_row rows[] = {
	{ "a word for a shell", test_shell_quote },
	{ "octets that are not UTF-8 in JSON", test_json_string },
	{ "columns line up", test_table },
	{ "setup: the configuration means what it should", test_setup_text },
	{ "setup: files it cannot work with", test_setup_paths_refused },
	{ "setup: a file appears whole, or not", test_setup_files_write },
	{ "setup: key and certificate, once", test_setup_credentials },
};

TEST_MAIN("cli", rows)
