/* mail/mail_date.c - see mail_date.h. */
#include "mail/mail_date.h"

#include "util/err.h"

#include <stdio.h>
#include <time.h>

const char *
mail_date_print(int64_t seconds, char out[MAIL_DATE_MAX])
{
	static const char days[][4] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
	static const char months[][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
					  "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
	const int64_t last = INT64_C(253402300799); /* 9999-12-31T23:59:59Z */
	time_t t = (time_t)(seconds < 0 ? 0 : seconds > last ? last : seconds);
	struct tm tm;

	PT_ASSERT(gmtime_r(&t, &tm) != NULL);
	snprintf(out, MAIL_DATE_MAX, "%s, %d %s %d %02d:%02d:%02d +0000", days[tm.tm_wday],
		 tm.tm_mday, months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
	return out;
}
