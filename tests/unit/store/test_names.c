/* unit/store/test_names.c - texts: sets of UIDs, names on disk, records, lines of an index; lines at the end of a file. */
#include "store/index.h"
#include "store/maildir.h"
#include "store/record.h"
#include "store/uidset.h"

#include "test.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

static void
test_uidset(void)
{
	static const char *const good[] = { "1", "1:2", "1,3,5:9", "4294967295", "1:4294967295" };
	static const char *const bad[] = { "", "0", "0:1", "2:1", "1,", ",1", "1:", ":1", "1,1", "2,1", "1:3,3", "1:*", "01",
		"4294967296", "99999999999", "1 ", "1;2", "-1" };
	struct uidset_writer w;
	struct buf out;
	size_t i;

	for (i = 0; i < PT_COUNT(good); i++)
		CU_ASSERT_TRUE(uidset_valid(span_str(good[i])));
	for (i = 0; i < PT_COUNT(bad); i++)
		CU_ASSERT_FALSE(uidset_valid(span_str(bad[i])));
	buf_init(&out, 100);
	uidset_begin(&w, &out);
	for (i = 1; i < 10; i++)
		if (i != 4 && i != 8)
			uidset_add(&w, (uint32_t)i);
	CU_ASSERT_EQUAL(uidset_end(&w), 0);
	CU_ASSERT_TRUE(span_equal(buf_span(&out), span_str("1:3,5:7,9")));
	buf_fini(&out);
}

static void
test_users(void)
{
	static const struct { const char *user; bool ok; } rows[] = {
		{ "alice@example.org", true }, { "a", true }, { "j\xc3\xb6rg@example.org", true }, { "a+b.c@d", true }, { "", false },
		{ ".", false }, { "..", false }, { ".x", false }, { "a/b", false }, { "a b", false }, { "A@b", false },
		{ "a\nb", false }, { "a\x7f", false }, { "\xff", false }, { "a..b", true }, { "a%b", true },
	};
	char longest[STORE_USER_MAX + 2];
	size_t i;

	for (i = 0; i < PT_COUNT(rows); i++)
		CU_ASSERT_EQUAL(maildir_user_ok(span_str(rows[i].user)), rows[i].ok);
	CU_ASSERT_FALSE(maildir_user_ok((struct span){ (const uint8_t *)"a\0b", 3 }));
	memset(longest, 'a', sizeof longest);
	CU_ASSERT_TRUE(maildir_user_ok((struct span){ (uint8_t *)longest, STORE_USER_MAX }));
	CU_ASSERT_FALSE(maildir_user_ok((struct span){ (uint8_t *)longest, STORE_USER_MAX + 1 }));
}

static void
test_keys(void)
{
	/* RFC 3501 §5.1.3 has the third and the fourth */
	static const struct { const char *name, *key; } good[] = {
		{ "Sent", "Sent" }, { "inbox", "INBOX" }, { "~peter.mail.\xe5\x8f\xb0\xe5\x8c\x97.\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e",
			"~peter.mail.&U,BTFw-.&ZeVnLIqe-" }, { "A&B", "A&-B" }, { "Gel\xc3\xb6scht", "Gel&APY-scht" },
		{ "\xf0\x9f\x98\x80", "&2D3eAA-" }, { "a b", "a b" }, { "&", "&-" }, { "\xc3\xb6&\xc3\xb6", "&APY-&-&APY-" },
	};
	static const char *const bad[] = { "", ".", ".a", "a.", "a..b", "a/b", "a\x01", "\xff", "a\n" };
	static const char *const bad_keys[] = { "&", "&A", "&A-", "&AGE-", "a&", "&APY", "&2D3-", "&!-", "inbox", "&AC8-" };
	char key[STORE_BOX_MAX + 1], name[STORE_BOX_MAX * 3 + 1], longest[STORE_BOX_MAX * 4];
	size_t i;

	for (i = 0; i < PT_COUNT(good); i++) {
		CU_ASSERT_TRUE(maildir_key(span_str(good[i].name), key));
		CU_ASSERT_STRING_EQUAL(key, good[i].key);
		CU_ASSERT_TRUE(maildir_key_name(good[i].key, name));
		if (i != 1)
			CU_ASSERT_STRING_EQUAL(name, good[i].name);
	}
	for (i = 0; i < PT_COUNT(bad); i++)
		CU_ASSERT_FALSE(maildir_key(span_str(bad[i]), key));
	for (i = 0; i < PT_COUNT(bad_keys); i++)
		CU_ASSERT_FALSE(maildir_key_name(bad_keys[i], name));
	memset(longest, 'a', sizeof longest);
	CU_ASSERT_TRUE(maildir_key((struct span){ (uint8_t *)longest, STORE_BOX_MAX }, key));
	CU_ASSERT_FALSE(maildir_key((struct span){ (uint8_t *)longest, STORE_BOX_MAX + 1 }, key));
	CU_ASSERT_FALSE(maildir_key((struct span){ (uint8_t *)longest, sizeof longest }, key));
}

static void
test_messages(void)
{
	struct maildir_stamp st = { .sec = 1700000000, .us = 12, .lsn = 77 };
	char base[MAILDIR_BASE_MAX + 1], info[MAILDIR_FLAGS_MAX + 1], guid[33], again[33], host[MAILDIR_HOST_MAX + 1];
	struct maildir_name n;

	maildir_host("a/b:c d", host);
	CU_ASSERT_STRING_EQUAL(host, "a_b_c_d");
	maildir_base(&st, "host", 1234, 5, base);
	CU_ASSERT_STRING_EQUAL(base, "1700000000.M12P77.host,S=1234,U=5");
	maildir_guid(span_str(base), guid);
	CU_ASSERT_EQUAL(strlen(guid), 32);
	maildir_guid(span_str("1700000000.M12P77.host,S=1234,U=6"), again);
	CU_ASSERT_STRING_NOT_EQUAL(guid, again);
	maildir_guid(span_str("foreign"), again);
	CU_ASSERT_EQUAL(strlen(again), 32);
	CU_ASSERT_TRUE(maildir_name_parse(span_str("1700000000.M12P77.host,S=1234,W=1300,U=5:2,FSab"), &n));
	CU_ASSERT_EQUAL(n.flags, STORE_FLAGGED | STORE_SEEN | STORE_KEYWORD(0) | STORE_KEYWORD(1));
	CU_ASSERT_TRUE(n.has_size && n.size == 1234 && n.has_virtual && n.virt == 1300 && n.has_uid && n.uid == 5);
	CU_ASSERT_FALSE(maildir_name_parse(span_str(""), &n));
	CU_ASSERT_FALSE(maildir_name_parse(span_str(".hidden"), &n));
	CU_ASSERT_FALSE(maildir_name_parse(span_str(":2,S"), &n));
	CU_ASSERT_FALSE(maildir_name_parse(span_str("a\nb"), &n));
	CU_ASSERT_TRUE(maildir_name_parse(span_str("x:2,"), &n));
	CU_ASSERT_TRUE(maildir_name_parse(span_str("a,U=0,U=99999999999999,S=x"), &n));
	CU_ASSERT_FALSE(n.has_uid || n.has_size);
	maildir_info(UINT32_MAX, info);
	CU_ASSERT_STRING_EQUAL(info, ":2,DFPRSTabcdefghijklmnopqrstuvwxyz");
	maildir_info(0, info);
	CU_ASSERT_STRING_EQUAL(info, ":2,");
}

/* Whole lines, whatever is at the end. (One that followed half of another was lost with it.) */
static void
test_append(void)
{
	static const struct { const char *before, *want; } cases[] = {
		{ "", "new\n" }, { "old\n", "old\nnew\n" }, { "old\nhal", "old\nhal\nnew\n" }, { "h", "h\nnew\n" },
	};
	char text[64];
	ssize_t n;
	size_t i;
	int fd;

	for (i = 0; i < PT_COUNT(cases); i++) {
		fd = memfd_create("lines", MFD_CLOEXEC);
		CU_ASSERT_FATAL(fd >= 0 && fcntl(fd, F_SETFL, O_APPEND) == 0);
		CU_ASSERT_EQUAL(maildir_append(fd, (const uint8_t *)cases[i].before, strlen(cases[i].before)), 0);
		CU_ASSERT_EQUAL(maildir_append(fd, (const uint8_t *)"new\n", 4), 0);
		n = pread(fd, text, sizeof text - 1, 0);
		text[n < 0 ? 0 : n] = '\0';
		CU_ASSERT_STRING_EQUAL(text, cases[i].want);
		close(fd);
	}
}

/* What cannot be written whole is not written at all. */
static void
test_append_fails(void)
{
	int fd = memfd_create("lines", MFD_CLOEXEC);
	struct rlimit small, before;
	char text[64];

	CU_ASSERT_FATAL(fd >= 0 && fcntl(fd, F_SETFL, O_APPEND) == 0);
	CU_ASSERT_EQUAL(maildir_append(fd, (const uint8_t *)"1234567\n", 8), 0);
	CU_ASSERT_EQUAL_FATAL(getrlimit(RLIMIT_FSIZE, &before), 0);
	small = (struct rlimit){ .rlim_cur = 10, .rlim_max = before.rlim_max };
	(void)signal(SIGXFSZ, SIG_IGN);
	CU_ASSERT_EQUAL_FATAL(setrlimit(RLIMIT_FSIZE, &small), 0);
	CU_ASSERT_EQUAL(maildir_append(fd, (const uint8_t *)"abcdefg\n", 8), PT_EFULL);
	CU_ASSERT_EQUAL(setrlimit(RLIMIT_FSIZE, &before), 0);
	CU_ASSERT_EQUAL(pread(fd, text, sizeof text, 0), 8);
	CU_ASSERT_EQUAL(maildir_append(fd, (const uint8_t *)"abcdefg\n", 8), 0);
	CU_ASSERT_EQUAL(pread(fd, text, sizeof text, 0), 16);
	CU_ASSERT_EQUAL(memcmp(text, "1234567\nabcdefg\n", 16), 0);
	close(fd);
}

static void
test_records(void)
{
	static const char *const bad[] = { "\n", "B a\n", "B a b\n", "B a b c d\n", "Z\n", "X y\n", "T\n", "no end", "I 1\n" };
	struct span words[5], text;
	struct record_line l;
	struct buf out;
	char back[300], nasty[257];
	bool wrong;
	unsigned i;

	for (i = 0; i < 255; i++)
		nasty[i] = (char)(i + 1);
	nasty[255] = '\0';
	buf_init(&out, 4096);
	words[0] = span_str("user");
	words[1] = span_str(nasty);
	words[2] = span_str("");
	CU_ASSERT_EQUAL(record_put(&out, 'B', 3, words), 0);
	CU_ASSERT_EQUAL(record_put(&out, 'X', 0, NULL), 0);
	text = buf_span(&out);
	CU_ASSERT_TRUE_FATAL(record_next(&text, &l, &wrong));
	CU_ASSERT_EQUAL(l.kind, 'B');
	CU_ASSERT_TRUE(record_word(l.word[1], back, sizeof back));
	CU_ASSERT_STRING_EQUAL(back, nasty);
	CU_ASSERT_TRUE(record_word(l.word[2], back, sizeof back));
	CU_ASSERT_STRING_EQUAL(back, "");
	CU_ASSERT_FALSE(record_word(l.word[1], back, 255)); /* one too small */
	CU_ASSERT_TRUE(record_next(&text, &l, &wrong));
	CU_ASSERT_EQUAL(l.kind, 'X');
	CU_ASSERT_FALSE(record_next(&text, &l, &wrong));
	CU_ASSERT_FALSE(wrong);
	buf_fini(&out);
	for (i = 0; i < PT_COUNT(bad); i++) {
		text = span_str(bad[i]);
		CU_ASSERT_FALSE(record_next(&text, &l, &wrong));
		CU_ASSERT_TRUE(wrong);
	}
	CU_ASSERT_FALSE(record_word(span_str("%0"), back, sizeof back));
	CU_ASSERT_FALSE(record_word(span_str("%00"), back, sizeof back));
	CU_ASSERT_FALSE(record_word(span_str("%xx"), back, sizeof back));
}

/* --- indexes ---------------------------------------------------------------------------------------------------- */

#define ID "00112233445566778899aabbccddeeff"

static void
sample(struct buf *out)
{
	struct index_add a = { .modseq = 1, .guid = ID, .date = 1700000000 };
	uint32_t uid;

	buf_init(out, 1u << 20);
	CU_ASSERT_EQUAL(index_put_header(out, 7, ID, 1600000000), 0);
	for (uid = 1; uid <= 5; uid++) {
		a.uid = uid;
		a.modseq = uid;
		a.size = uid * 100;
		a.where = uid > 3 ? INDEX_NEW : 0;
		a.flags = uid == 2 ? STORE_SEEN | STORE_KEYWORD(3) : 0;
		a.base = span_str("a name with spaces");
		CU_ASSERT_EQUAL(index_put_add(out, &a), 0);
	}
	CU_ASSERT_EQUAL(index_put_keyword(out, 6, 3, "$Label"), 0);
	CU_ASSERT_EQUAL(index_put_flags(out, 7, span_str("1,4"), STORE_DELETED), 0);
	CU_ASSERT_EQUAL(index_put_gone(out, 8, span_str("2:3")), 0);
}

static uint64_t changes;

static void
on_change(void *arg, enum store_change_kind kind, uint32_t seq, uint32_t uid)
{
	(void)arg;
	changes = changes * 31 + kind * 7 + seq * 3 + uid;
}

static void
whole(struct span text, struct index *x)
{
	bool bad;
	int rc;

	index_init(x);
	changes = 0;
	CU_ASSERT_EQUAL(index_feed(x, text, UINT32_MAX, on_change, NULL, &bad, &rc), text.n);
	CU_ASSERT_EQUAL(rc, 0);
	CU_ASSERT_FALSE(bad);
}

static void
test_index(void)
{
	struct store_status st;
	struct buf text, small;
	struct index x, y;
	bool found;

	sample(&text);
	whole(buf_span(&text), &x);
	index_status(&x, &st);
	CU_ASSERT_EQUAL(st.messages, 3);
	CU_ASSERT_EQUAL(st.uidnext, 6);
	CU_ASSERT_EQUAL(st.uidvalidity, 7);
	CU_ASSERT_EQUAL(st.modseq, 8);
	CU_ASSERT_EQUAL(st.octets, 100 + 400 + 500);
	CU_ASSERT_EQUAL(st.unseen, 3);
	CU_ASSERT_EQUAL(st.deleted, 2);
	CU_ASSERT_EQUAL(st.recent, 1);
	CU_ASSERT_EQUAL(index_find(&x, 4, &found), 1);
	CU_ASSERT_TRUE(found);
	CU_ASSERT_EQUAL(index_find(&x, 2, &found), 1);
	CU_ASSERT_FALSE(found);
	CU_ASSERT_EQUAL(index_keyword(&x, span_str("$label")), 3);
	CU_ASSERT_EQUAL(index_keyword(&x, span_str("$other")), -1);
	/* in few lines the same */
	buf_init(&small, 1u << 20);
	CU_ASSERT_EQUAL(index_compact(&x, buf_span(&text), &small), 0);
	whole(buf_span(&small), &y);
	CU_ASSERT_EQUAL(y.n, x.n);
	CU_ASSERT_EQUAL(y.uidnext, x.uidnext);
	CU_ASSERT_EQUAL(y.modseq, x.modseq);
	CU_ASSERT_EQUAL(y.floor, x.modseq);
	CU_ASSERT_EQUAL(y.msgs[0].modseq, x.msgs[0].modseq);
	CU_ASSERT_EQUAL(y.msgs[1].flags, STORE_DELETED);
	CU_ASSERT_EQUAL(y.octets, x.octets);
	index_fini(&x);
	index_fini(&y);
	buf_fini(&text);
	buf_fini(&small);
}

/* Cut at every octet: all whole lines are taken, and the rest is neither wrong nor taken. */
static void
test_index_cut(void)
{
	struct buf text;
	struct span s;
	struct index x;
	size_t n, taken;
	uint64_t want;
	bool bad;
	int rc;

	sample(&text);
	s = buf_span(&text);
	whole(s, &x);
	want = changes;
	index_fini(&x);
	for (n = 0; n <= s.n; n++) {
		index_init(&x);
		changes = 0;
		taken = index_feed(&x, (struct span){ s.p, n }, UINT32_MAX, on_change, NULL, &bad, &rc);
		CU_ASSERT(taken <= n && !bad && (taken == 0 || s.p[taken - 1] == '\n'));
		CU_ASSERT_PTR_NULL(n > taken ? memchr(s.p + taken, '\n', n - taken) : NULL);
		/* and the rest afterwards */
		taken += index_feed(&x, (struct span){ s.p + taken, s.n - taken }, UINT32_MAX, on_change, NULL, &bad, &rc);
		CU_ASSERT_EQUAL(taken, s.n);
		CU_ASSERT_EQUAL(changes, want);
		index_fini(&x);
	}
	buf_fini(&text);
}

/* Every octet changed: the line with it and all behind it are not taken. */
static void
test_index_damaged(void)
{
	struct buf text;
	struct span s;
	uint8_t *copy;
	struct index x;
	size_t n, taken;
	bool bad;
	int rc;

	sample(&text);
	s = buf_span(&text);
	copy = malloc(s.n);
	for (n = 0; n < s.n; n++) {
		memcpy(copy, s.p, s.n);
		copy[n] ^= 0x01;
		index_init(&x);
		taken = index_feed(&x, (struct span){ copy, s.n }, UINT32_MAX, NULL, NULL, &bad, &rc);
		CU_ASSERT(taken <= n);
		index_fini(&x);
	}
	free(copy);
	buf_fini(&text);
}

static const struct test_row rows[] = {
	{ "sets of UIDs", test_uidset },
	{ "users", test_users },
	{ "mailboxes", test_keys },
	{ "messages", test_messages },
	{ "lines added to a file", test_append },
	{ "lines for which there is no room", test_append_fails },
	{ "records", test_records },
	{ "an index", test_index },
	{ "an index cut at every octet", test_index_cut },
	{ "an index changed at every octet", test_index_damaged },
};

TEST_MAIN("store/names", rows)
