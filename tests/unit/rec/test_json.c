/* unit/rec/test_json.c - a record as JSON: what is there, what is left out, and any record that is one. */
#include "test.h"

#include "rec/rec_json.h"
#include "rec/why.h"
#include "tls/tls_verdict.h"

#include <string.h>

static const char *
text(const json_t *o, const char *name)
{
	const char *s = json_string_value(json_object_get(o, name));

	return s != NULL ? s : "-";
}

static void
test_members(void)
{
	struct rec r = { .id = REC_ID(2, 9), .start_us = 1700000000123456ull, .code = WHY_CERT_EXPIRED, .version = 5,
		.cause = REC_CAUSE_LOGIN, .chain = 1, .nserial = 2, .serial = { 0x0a, 0xff }, .verdict =
		TLS_VERDICT_EXPIRED, .not_after = 1600000000, .repeats = 3, .first_us = 1700000000000000ull,
		.peer = { REC_IPV4, { 192, 0, 2, 1 }, 99 } };
	json_t *o, *why, *steps;

	strcpy(r.service, "line");
	strcpy(r.subject, "CN=a");
	rec_step_add(&r, REC_STEP_ACCEPTED, 0, REC_WAY_NONE, 0, 0);
	rec_step_add(&r, REC_STEP_HANDSHAKE, 1, REC_WAY_IN, 198, 1234);
	rec_step_add(&r, REC_STEP_HANDSHAKE, 99, REC_WAY_IN, 1, 1235);
	rec_step_add(&r, REC_STEP_ALERT, 45, REC_WAY_OUT, 0, 1300);
	rec_step_add(&r, REC_STEP_VERDICT, 200, REC_WAY_NONE, 0, 1301);
	rec_step_add(&r, REC_STEP_PROGRAM_EXIT, 3, REC_WAY_NONE, 0, 1302);
	rec_step_add(&r, REC_STEP_PROGRAM_SIGNAL, 9, REC_WAY_NONE, 0, 1303);
	o = rec_json(&r, 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(o);
	CU_ASSERT_STRING_EQUAL(text(o, "id"), "2-9");
	CU_ASSERT_STRING_EQUAL(text(o, "time"), "2023-11-14T22:13:20.123456Z");
	CU_ASSERT_STRING_EQUAL(text(o, "peer"), "192.0.2.1:99");
	CU_ASSERT_STRING_EQUAL(text(o, "verdict"), "expired");
	CU_ASSERT_STRING_EQUAL(text(o, "user"), "-");
	CU_ASSERT_EQUAL(json_integer_value(json_object_get(o, "repeats")), 3);
	CU_ASSERT_STRING_EQUAL(text(json_object_get(o, "tls"), "version"), "TLS 1.3");
	CU_ASSERT_STRING_EQUAL(text(json_object_get(o, "certificate"), "serial"), "0AFF");
	CU_ASSERT_STRING_EQUAL(text(json_object_get(o, "certificate"), "not_after"), "2020-09-13T12:26:40Z");
	why = json_object_get(o, "why");
	CU_ASSERT_STRING_EQUAL(text(why, "code"), "certificate-expired");
	CU_ASSERT_STRING_EQUAL(text(why, "side"), "client");
	CU_ASSERT_STRING_EQUAL(text(why, "kind"), "login");
	CU_ASSERT_PTR_NOT_NULL(strstr(text(why, "sentence"), "; renew it"));
	steps = json_object_get(o, "steps");
	CU_ASSERT_EQUAL(json_array_size(steps), 7);
	CU_ASSERT_STRING_EQUAL(text(json_array_get(steps, 1), "text"), "ClientHello");
	CU_ASSERT_STRING_EQUAL(text(json_array_get(steps, 1), "way"), "in");
	CU_ASSERT_EQUAL(json_integer_value(json_object_get(json_array_get(steps, 1), "size")), 198);
	CU_ASSERT_STRING_EQUAL(text(json_array_get(steps, 2), "text"), "handshake message 99");
	CU_ASSERT_STRING_EQUAL(text(json_array_get(steps, 3), "text"), "alert certificate_expired (45)");
	CU_ASSERT_STRING_EQUAL(text(json_array_get(steps, 4), "text"), "certificate judged: unknown");
	CU_ASSERT_STRING_EQUAL(text(json_array_get(steps, 5), "kind"), "program-exit");
	CU_ASSERT_STRING_EQUAL(text(json_array_get(steps, 5), "text"), "program ended with code 3");
	CU_ASSERT_EQUAL(json_integer_value(json_object_get(json_array_get(steps, 5), "number")), 3);
	CU_ASSERT_STRING_EQUAL(text(json_array_get(steps, 6), "text"), "program ended by signal 9");
	json_decref(o);
	r.code = 0;
	r.chain = 0;
	o = rec_json(&r, 3);
	CU_ASSERT_TRUE(json_is_null(json_object_get(o, "why")));
	CU_ASSERT_PTR_NULL(json_object_get(o, "certificate"));
	CU_ASSERT_EQUAL(json_array_size(json_object_get(o, "steps")), 4);
	json_decref(o);
}

/* Times that no calendar has, counts beyond what JSON holds. */
static void
test_extremes(void)
{
	struct rec r = { .id = UINT64_MAX, .start_us = UINT64_MAX, .first_us = UINT64_MAX, .repeats = UINT32_MAX,
		.end_us = UINT64_MAX, .octets_in = UINT64_MAX, .not_before = INT64_MIN, .not_after = INT64_MAX,
		.chain = 255 };
	unsigned code;
	json_t *o;

	for (code = 0; code < WHY_COUNT; code++) {
		r.code = (uint16_t)code;
		o = rec_json(&r, 0);
		CU_ASSERT_PTR_NOT_NULL_FATAL(o);
		CU_ASSERT_EQUAL(json_integer_value(json_object_get(o, "octets_in")), INT64_MAX);
		json_decref(o);
	}
}

static const struct test_row rows[] = {
	{ "members", test_members },
	{ "extremes", test_extremes },
};
TEST_MAIN("rec/rec_json", rows)
