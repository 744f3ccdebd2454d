/* unit/conf/conf_api.c - what the rest of the program relies on: defaults, origins, the walk, and
 * that nothing is accepted whose work is not done. */
#include "unit/conf/test_conf.h"

#include "conf/conf_schema.h"
#include "test.h"

#include <stdio.h>
#include <string.h>

/* Blocks to put a line into; each is complete but for it. */
enum place {
	TOP,
	IN_TLS,
	IN_SERVICE,
	IN_OVERRIDE,
	IN_IDENTITY,
	IN_CONTROL,
};

static const struct {
	const char *head, *tail;
} places[] = {
	[TOP] = { "", "" },
	[IN_TLS] = { "tls main {\ncertificate /a\n", "}\n" },
	[IN_SERVICE] = { "service s {\nprotocol line\nlisten 127.0.0.1:1 plain\n", "}\n" },
	[IN_OVERRIDE] = { "tls main {\ncertificate /a\n}\nservice s {\nprotocol line\n"
			  "listen 127.0.0.1:1\ntls main {\n",
			  "}\n}\n" },
	[IN_IDENTITY] = { "identity {\n", "}\n" },
	[IN_CONTROL] = { "control {\n", "}\n" },
};

static int
say_line(enum place place, const char *line, struct buf *out, size_t *mistakes)
{
	struct buf text;
	int rc;

	buf_init(&text, TEXT_MAX);
	CU_ASSERT_EQUAL(buf_printf(&text, "%s%s\n%s", places[place].head, line, places[place].tail),
			0);
	rc = conf_say(NULL, buf_span(&text), out, mistakes);
	buf_fini(&text);
	return rc;
}

/* Names that the design has and the program has not: refused like any unknown name. */
void
test_absent_directives(void)
{
	static const struct {
		enum place place;
		const char *line;
	} rows[] = {
		{ TOP, "store embedded" },
		{ TOP, "queue /var/spool/postern" },
		{ TOP, "relay mail.example.org" },
		{ TOP, "status 127.0.0.1:8080" },
		{ TOP, "proxy on" },
		{ IN_SERVICE, "alpn line" },
		{ IN_CONTROL, "mode 0660" },
	};
	size_t i, mistakes;
	char want[128];
	struct buf out;

	for (i = 0; i < PT_COUNT(rows); i++) {
		CU_ASSERT_EQUAL(say_line(rows[i].place, rows[i].line, &out, &mistakes), PT_EINVAL);
		CU_ASSERT_EQUAL(mistakes, 1);
		snprintf(want, sizeof want, ":1: unknown directive '%.*s'; expected ",
			 (int)strcspn(rows[i].line, " "), rows[i].line);
		CU_ASSERT_PTR_NOT_NULL(strstr((const char *)buf_span(&out).p, want));
		buf_fini(&out);
	}
}

void
test_absent_words(void)
{
	static const struct {
		enum place place;
		const char *head, *words[12];
	} rows[] = {
		{ IN_IDENTITY,
		  "map",
		  { "registry", "cn", "spki /table", "fingerprint /table", "san-uri",
		    "san-utf8-email" } },
		{ IN_TLS, "protocols", { "1.0", "1.1", "1.4", "ssl3", "tls1.3" } },
		{ IN_TLS, "verify", { "never", "on", "twice" } },
		{ IN_SERVICE, "after-close", { "starttls", "close", "restart" } },
		{ IN_TLS, "client-certificate", { "yes", "on", "optional_no_ca", "ask" } },
		{ TOP, "log", { "journal", "console", "none", "/var/log/x" } },
	};
	static const char *const protocols[] = { "imap", "pop3", "sieve", "http" };
	char line[200], want[80];
	size_t i, k, mistakes;
	struct buf out;

	for (i = 0; i < PT_COUNT(rows); i++)
		for (k = 0; rows[i].words[k] != NULL; k++) {
			snprintf(line, sizeof line, "%s %s", rows[i].head, rows[i].words[k]);
			CU_ASSERT_EQUAL(say_line(rows[i].place, line, &out, &mistakes), PT_EINVAL);
			CU_ASSERT_EQUAL(mistakes, 1);
			snprintf(want, sizeof want, "unknown word '%.*s'; expected ",
				 (int)strcspn(rows[i].words[k], " "), rows[i].words[k]);
			CU_ASSERT_PTR_NOT_NULL(strstr((const char *)buf_span(&out).p, want));
			buf_fini(&out);
		}
	for (i = 0; i < PT_COUNT(protocols); i++) {
		snprintf(line, sizeof line, "service s {\nprotocol %s\nlisten 127.0.0.1:1 plain\n}",
			 protocols[i]);
		CU_ASSERT_EQUAL(say_line(TOP, line, &out, &mistakes), PT_EINVAL);
		CU_ASSERT_EQUAL(mistakes, 1);
		CU_ASSERT_PTR_NOT_NULL(strstr((const char *)buf_span(&out).p, "expected line"));
		buf_fini(&out);
	}
}

static struct conf *
parse(const char *text)
{
	struct conf_errors *errors = conf_errors_new();
	struct conf *conf;

	CU_ASSERT_PTR_NOT_NULL_FATAL(errors);
	CU_ASSERT_EQUAL(conf_parse("t", "/etc/postern", span_str(text), &conf, errors), 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(conf);
	conf_errors_free(&errors);
	return conf;
}

void
test_defaults(void)
{
	struct conf *conf = parse("tls t {\ncertificate a\n}\n"
				  "service s {\nprotocol line\nlisten 127.0.0.1:1\ntls t\n}\n");
	const struct conf_service *s = &conf->services[0];
	const struct conf_tls *t = &conf->tls[0];

	CU_ASSERT(conf->hostname[0] != '\0');
	CU_ASSERT(conf->state[0] == '/' && strstr(conf->state, "/lib/postern") != NULL);
	CU_ASSERT(conf->workers >= 1 && conf->workers <= CONF_WORKERS_MAX);
	CU_ASSERT_EQUAL(conf->log, CONF_LOG_SYSLOG);
	CU_ASSERT_PTR_NULL(conf->log_file);
	CU_ASSERT_EQUAL(conf->log_format, CONF_LOG_TEXT);
	CU_ASSERT_EQUAL(conf->drain_ms, 3600 * 1000);
	CU_ASSERT_EQUAL(conf->stop_timeout_ms, 10 * 1000);
	CU_ASSERT_EQUAL(conf->linger_ms, 2 * 1000);
	CU_ASSERT_EQUAL(conf->max_connections, 20000);
	CU_ASSERT_PTR_NOT_NULL(strstr(conf->pid_file, "/postern/posternd.pid"));
	CU_ASSERT_PTR_NOT_NULL(strstr(conf->control_socket, "/postern/control"));
	CU_ASSERT_STRING_EQUAL(conf->control_group, "postern-admin");
	CU_ASSERT_EQUAL(conf->nmaps, 0);
	CU_ASSERT_EQUAL(t->protocols, CONF_TLS_1_2 | CONF_TLS_1_3);
	CU_ASSERT_PTR_NULL(t->priority);
	CU_ASSERT_EQUAL(t->client_certificate, CONF_CC_REQUEST);
	CU_ASSERT_EQUAL(t->nclient_ca, 0);
	CU_ASSERT_EQUAL(t->handshake_timeout_ms, 30 * 1000);
	CU_ASSERT_EQUAL(t->first_flight_timeout_ms, 10 * 1000);
	CU_ASSERT_EQUAL(t->tickets, true);
	CU_ASSERT_EQUAL(t->ticket_lifetime_ms, 6 * 3600 * 1000);
	CU_ASSERT_STRING_EQUAL(t->certs[0].certificate, "/etc/postern/a");
	CU_ASSERT_PTR_NULL(t->certs[0].key);
	CU_ASSERT_EQUAL(s->protocol, CONF_PROTOCOL_LINE);
	CU_ASSERT_EQUAL(s->listens[0].mode, CONF_LISTEN_STARTTLS_REQUIRED);
	CU_ASSERT_EQUAL(s->max_connections, 10000);
	CU_ASSERT_EQUAL(s->max_per_address, 100);
	CU_ASSERT_EQUAL(s->idle_timeout_ms, 5 * 60 * 1000);
	CU_ASSERT_EQUAL(t->verify, CONF_VERIFY_ONCE);
	CU_ASSERT_EQUAL(t->renegotiation.count, 0);
	CU_ASSERT_EQUAL(s->after_close, CONF_AFTER_CLOSE_PLAINTEXT);
	CU_ASSERT_EQUAL(s->restarts.count, 3);
	CU_ASSERT_EQUAL(s->restarts.window_ms, 600 * 1000);
	CU_ASSERT_STRING_EQUAL(s->tls->name, "t");
	CU_ASSERT(conf_tls_same_credentials(t, s->tls));
	conf_free(&conf);
	conf_free(&conf); /* NULL is fine */
}

void
test_from_memory(void)
{
	static const struct {
		const char *base, *text, *said;
	} rows[] = {
		{ NULL, "include \"x\"\n", "t:1:1: 'include' in a text that is no file" },
		{ "/etc", "include \"/x\"\n", "t:1:1: 'include' in a text that is no file" },
		{ NULL, "state x\n",
		  "t:1:7: 'x' is a relative path; expected one that begins with '/'" },
		{ NULL, "tls t {\ncertificate /a key b\n}\n", "t:2:20: 'b' is a relative path" },
		{ "/etc/\xff", "state x\n", "t:1:7: a path within a folder whose name is no text" },
	};
	size_t i, mistakes;
	struct buf out;

	for (i = 0; i < PT_COUNT(rows); i++) {
		CU_ASSERT_EQUAL(conf_say(rows[i].base, span_str(rows[i].text), &out, &mistakes),
				PT_EINVAL);
		CU_ASSERT_EQUAL(mistakes, 1);
		CU_ASSERT_EQUAL(
		    strncmp((const char *)buf_span(&out).p, rows[i].said, strlen(rows[i].said)), 0);
		buf_fini(&out);
	}
	CU_ASSERT_EQUAL(conf_say(NULL, (struct span){ NULL, 0 }, &out, &mistakes), 0);
	buf_fini(&out);
}

static const char walked[] = "tls main {\ncertificate a key b\nclient-ca c \"d e\"\n}\n"
			     "service s {\nprotocol line\nlisten 127.0.0.1:1\n"
			     "tls main { handshake-timeout 5s }\n}\n";

struct walk {
	struct buf out;
	unsigned stop_at, items;
};

static int
note(void *arg, const struct conf_item *item)
{
	struct walk *w = arg;
	size_t i;

	CU_ASSERT_EQUAL(buf_printf(&w->out, "%u %c [%s] %s", item->depth, "v{}"[item->kind],
				   item -> path, item -> name),
			0);
	for (i = 0; i < item->nwords; i++)
		CU_ASSERT_EQUAL(buf_printf(&w->out, " <%s>", item->words[i]), 0);
	CU_ASSERT_EQUAL(buf_printf(&w->out, "%s%s\n", item->repeats ? " repeats" : "",
				   item->is_number ? " number" : ""),
			0);
	return ++w->items == w->stop_at ? 42 : 0;
}

void
test_walk(void)
{
	static const char want[] =
	    "0 { [] tls <main> repeats\n"
	    "1 v [tls main] certificate </etc/postern/a> <key> </etc/postern/b> repeats\n"
	    "1 v [tls main] protocols <1.2> <1.3>\n"
	    "1 v [tls main] client-certificate <request>\n"
	    "1 v [tls main] client-ca </etc/postern/c> </etc/postern/d e> repeats\n"
	    "1 v [tls main] crl-grace <7d>\n"
	    "1 v [tls main] verify <once>\n"
	    "1 v [tls main] renegotiation <off>\n"
	    "1 v [tls main] handshake-timeout <30s>\n"
	    "1 v [tls main] first-flight-timeout <10s>\n"
	    "1 v [tls main] tickets <on>\n"
	    "1 v [tls main] ticket-lifetime <6h>\n"
	    "0 } [] tls <main> repeats\n"
	    "0 { [] service <s> repeats\n"
	    "1 v [service s] protocol <line>\n"
	    "1 v [service s] listen <127.0.0.1:1> <starttls-required> repeats\n"
	    "1 { [service s] tls <main>\n"
	    "2 v [service s/tls main] handshake-timeout <5s>\n"
	    "1 } [service s] tls <main>\n"
	    "1 v [service s] max-connections <10000> number\n"
	    "1 v [service s] max-per-address <100> number\n"
	    "1 v [service s] idle-timeout <5m>\n"
	    "1 v [service s] after-close <plaintext>\n"
	    "1 v [service s] restarts <3> <per> <10m>\n"
	    "0 } [] service <s> repeats\n";
	struct conf *conf = parse(walked);
	struct walk w = { .items = 0 };
	const char *at;
	unsigned n;

	buf_init(&w.out, TEXT_MAX);
	CU_ASSERT_EQUAL(conf_show_each(conf, note, &w), 0);
	CU_ASSERT_EQUAL(buf_append(&w.out, "", 1), 0);
	at = strstr((const char *)buf_span(&w.out).p, "0 { [] tls");
	CU_ASSERT_PTR_NOT_NULL_FATAL(at);
	CU_ASSERT_STRING_EQUAL(at, want);
	buf_fini(&w.out);
	n = w.items;
	for (w.stop_at = 1; w.stop_at <= n; w.stop_at++) { /* the callback ends it at once */
		w.items = 0;
		CU_ASSERT_EQUAL(conf_show_each(conf, note, &w), 42);
		CU_ASSERT_EQUAL(w.items, w.stop_at);
		buf_fini(&w.out);
	}
	conf_free(&conf);
}

static int
check_origin(void *arg, const struct conf_item *item)
{
	const struct conf_origin *o = item->origin;
	unsigned *seen = arg;

	CU_ASSERT_PTR_NOT_NULL_FATAL(o);
	if (o->file == NULL)
		return 0;
	CU_ASSERT_STRING_EQUAL(o->file, "t");
	CU_ASSERT(o->line >= 1 && o->column >= 1);
	if (strcmp(item->name, "handshake-timeout") == 0) {
		CU_ASSERT_EQUAL(o->line, 8); /* the override, not the default of the block */
		CU_ASSERT_EQUAL(o->column, 12);
	}
	++*seen;
	return 0;
}

void
test_origins(void)
{
	struct conf *conf = parse(walked);
	unsigned seen = 0;

	CU_ASSERT_EQUAL(conf_show_each(conf, check_origin, &seen), 0);
	CU_ASSERT_EQUAL(seen, 11);
	CU_ASSERT_EQUAL(conf->services[0].origin.line, 5);
	CU_ASSERT_EQUAL(conf->services[0].listens[0].origin.line, 7);
	CU_ASSERT_EQUAL(conf->tls[0].certs[0].origin.line, 2);
	conf_free(&conf);
}

void
test_same_credentials(void)
{
	static const struct {
		const char *override;
		bool same;
	} rows[] = {
		{ "", true },
		{ "handshake-timeout 1s\nfirst-flight-timeout 1s", true },
		{ "tickets off\nticket-lifetime 1h", true },
		{ "client-certificate request", true },
		{ "client-ca /y /x", true },
		{ "client-ca /x /y /x", true },
		{ "protocols 1.3 1.2", true },
		{ "certificate /a key /k\ncertificate /b", true },
		{ "client-ca /x", false },
		{ "ocsp /o", false },
		{ "client-crl /l /m", true },
		{ "client-crl /m\nclient-crl /l /m", true },
		{ "crl-grace 168h", true },
		{ "client-crl /l", false },
		{ "client-crl /l /m /n", false },
		{ "client-crl /l /n", false },
		{ "crl-grace 8d", false },
		{ "client-ca /x /y /z", false },
		{ "client-ca /x /z", false },
		{ "protocols 1.3", false },
		{ "priority NORMAL", false },
		{ "client-certificate none", false },
		{ "certificate /b\ncertificate /a key /k", false },
		{ "certificate /a key /k", false },
		{ "certificate /a\ncertificate /b", false },
		{ "certificate /a key /j\ncertificate /b", false },
	};
	struct conf *conf;
	char text[400];
	size_t i;

	for (i = 0; i < PT_COUNT(rows); i++) {
		snprintf(text, sizeof text,
			 "tls t {\ncertificate /a key /k\ncertificate /b\n"
			 "client-ca /x /y\nclient-crl /l /m\n}\nservice s {\nprotocol line\nlisten 127.0.0.1:1\n"
			 "tls t {\n%s\n}\n}\n",
			 rows[i].override);
		conf = parse(text);
		CU_ASSERT_EQUAL(conf_tls_same_credentials(&conf->tls[0], conf->services[0].tls),
				rows[i].same);
		CU_ASSERT_EQUAL(conf_tls_same_credentials(conf->services[0].tls, &conf->tls[0]),
				rows[i].same);
		conf_free(&conf);
	}
}

/* A buffer that is too small is an error at every size, never a cut text taken for whole. */
void
test_print_limits(void)
{
	struct conf_errors *errors = conf_errors_new(), *none = NULL;
	struct conf *conf = parse(walked), *broken;
	struct buf out;
	size_t n, len;

	CU_ASSERT_PTR_NOT_NULL_FATAL(errors);
	buf_init(&out, TEXT_MAX);
	CU_ASSERT_EQUAL(conf_show(conf, true, &out), 0);
	len = buf_size(&out);
	buf_fini(&out);
	for (n = 0; n < len; n++) {
		buf_init(&out, n);
		CU_ASSERT_EQUAL(conf_show(conf, true, &out), PT_ETOOBIG);
		buf_fini(&out);
	}
	CU_ASSERT_EQUAL(conf_parse("t", NULL, span_str("a\tb\nstate x\ty\n\"\n"), &broken, errors),
			PT_EINVAL);
	buf_init(&out, TEXT_MAX);
	CU_ASSERT_EQUAL(conf_errors_print(errors, &out), 0);
	len = buf_size(&out);
	buf_fini(&out);
	for (n = 0; n < len; n++) {
		buf_init(&out, n);
		CU_ASSERT_EQUAL(conf_errors_print(errors, &out), PT_ETOOBIG);
		buf_fini(&out);
	}
	conf_errors_free(&errors);
	conf_errors_free(&none); /* NULL is fine */
	conf_free(&conf);
}
