/* What literals mean (terms.h; XML Schema 1.1 part 2 for the types). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "terms.h"

enum type { OTHER, INTEGER, DECIMAL, FLOAT, DOUBLE, BOOLEAN, DATE_TIME, DATE };

static enum type type_of(const struct strata__term *literal)
{
    static const struct {
        const char *name;
        enum type type;
    } types[] = {
        {"integer", INTEGER},
        {"decimal", DECIMAL},
        {"double", DOUBLE},
        {"float", FLOAT},
        {"boolean", BOOLEAN},
        {"dateTime", DATE_TIME},
        {"dateTimeStamp", DATE_TIME},
        {"date", DATE},
        {"long", INTEGER},
        {"int", INTEGER},
        {"short", INTEGER},
        {"byte", INTEGER},
        {"nonNegativeInteger", INTEGER},
        {"positiveInteger", INTEGER},
        {"nonPositiveInteger", INTEGER},
        {"negativeInteger", INTEGER},
        {"unsignedLong", INTEGER},
        {"unsignedInt", INTEGER},
        {"unsignedShort", INTEGER},
        {"unsignedByte", INTEGER},
    };
    const size_t prefix = sizeof STRATA__XSD - 1;
    if (literal->tag_size <= prefix || memcmp(literal->tag, STRATA__XSD, prefix) != 0)
        return OTHER;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strlen(types[i].name) == literal->tag_size - prefix &&
            !memcmp(types[i].name, literal->tag + prefix, literal->tag_size - prefix))
            return types[i].type;
    return OTHER;
}

/* ---- Numbers ---- */

/* A decimal number as it is written: digits, of which `scale` come after the point. */
struct number {
    bool negative;
    const char *whole, *fraction;
    size_t n_whole, n_fraction;
    long exponent;
};

static size_t digits(const char *text, const char *end)
{
    size_t n = 0;
    while (text + n < end && text[n] >= '0' && text[n] <= '9')
        n++;
    return n;
}

/* Reads all of [text, end); exponents above 99,999 are none that a number here has. */
static bool parse_number(const char *text, const char *end, enum type type, struct number *out)
{
    *out = (struct number){0};
    if (text < end && (*text == '-' || *text == '+'))
        out->negative = *text++ == '-';
    out->whole = text;
    out->n_whole = digits(text, end);
    text += out->n_whole;
    if (type != INTEGER && text < end && *text == '.') {
        out->fraction = ++text;
        out->n_fraction = digits(text, end);
        text += out->n_fraction;
    }
    if (out->n_whole + out->n_fraction == 0)
        return false;
    if ((type == FLOAT || type == DOUBLE) && text < end && (*text == 'e' || *text == 'E')) {
        bool negative = ++text < end && *text == '-';
        if (text < end && (*text == '-' || *text == '+'))
            text++;
        size_t n = digits(text, end);
        if (n == 0)
            return false;
        for (size_t i = 0; i < n; i++, text++)
            out->exponent = out->exponent > 9999 ? 99999 : out->exponent * 10 + (*text - '0');
        if (negative)
            out->exponent = -out->exponent;
    }
    return text == end;
}

/* "n", a sign, the digits without zeros at the ends, and the exponent of the last one. */
static strata_status put_number(const struct number *number, struct strata__bytes *out)
{
    const size_t start = out->size;
    long exponent = number->exponent - (long)number->n_fraction;
    STRATA_TRY(strata__bytes_append(out, number->negative ? "n-" : "n+", 2));
    const char *whole = number->whole, *fraction = number->fraction;
    size_t n_whole = number->n_whole, n_fraction = number->n_fraction;
    for (; n_whole && *whole == '0'; whole++)
        n_whole--;
    for (; !n_whole && n_fraction && *fraction == '0'; fraction++)
        n_fraction--;
    STRATA_TRY(strata__bytes_append(out, whole, n_whole));
    STRATA_TRY(strata__bytes_append(out, fraction, n_fraction));
    while (out->size > start + 2 && out->data[out->size - 1] == '0') {
        out->size--;
        exponent++;
    }
    if (out->size == start + 2) { /* zero */
        out->size = start;
        return strata__bytes_append(out, "n0", 2);
    }
    char text[32];
    int n = snprintf(text, sizeof text, "e%ld", exponent);
    return strata__bytes_append(out, text, (size_t)n);
}

/* A double or float as the shortest decimal that reads back as the same value. */
static strata_status put_float(const char *text, size_t size, enum type type,
                               struct strata__bytes *out)
{
    char shortest[64];
    struct number number;
    const size_t start = out->size;
    STRATA_TRY(strata__bytes_append(out, text, size)); /* a terminated copy for now */
    STRATA_TRY(strata__bytes_append(out, "", 1));
    const char *copy = out->data + start;
    double value = type == FLOAT ? (double)strtof(copy, NULL) : strtod(copy, NULL);
    out->size = start;
    if (isinf(value))
        return strata__bytes_append(out, value < 0 ? "n-INF" : "n+INF", 5);
    for (int precision = 1; precision <= 17; precision++) {
        snprintf(shortest, sizeof shortest, "%.*e", precision - 1, value);
        double back = type == FLOAT ? (double)strtof(shortest, NULL) : strtod(shortest, NULL);
        if (back == value)
            break;
    }
    parse_number(shortest, shortest + strlen(shortest), DOUBLE, &number);
    return put_number(&number, out);
}

/* False in *known where the text is no such number. */
static strata_status put_numeric(const char *text, size_t size, enum type type,
                                 struct strata__bytes *out, bool *known)
{
    struct number number;
    const bool is_float = type == FLOAT || type == DOUBLE;
    *known = true;
    if (is_float && size == 3 && !memcmp(text, "NaN", 3))
        return strata__bytes_append(out, "nNaN", 4);
    if (is_float && size == 3 && !memcmp(text, "INF", 3))
        return strata__bytes_append(out, "n+INF", 5);
    if (is_float && size == 4 && (!memcmp(text, "-INF", 4) || !memcmp(text, "+INF", 4)))
        return strata__bytes_append(out, *text == '-' ? "n-INF" : "n+INF", 5);
    *known = parse_number(text, text + size, type, &number);
    if (!*known)
        return STRATA_OK;
    return is_float ? put_float(text, size, type, out) : put_number(&number, out);
}

strata_status strata__number_value(const char *text, size_t size, struct strata__bytes *out,
                                   bool *is_number)
{
    return put_numeric(text, size, DECIMAL, out, is_number);
}

/* ---- Dates ---- */

/* Reads `width` digits. */
static bool take(const char **text, const char *end, size_t width, int *out)
{
    if (digits(*text, end) < width)
        return false;
    *out = 0;
    for (size_t i = 0; i < width; i++)
        *out = *out * 10 + (*text)[i] - '0';
    *text += width;
    return true;
}

static bool take_char(const char **text, const char *end, char c)
{
    bool is = *text < end && **text == c;
    *text += is;
    return is;
}

/* Days from 1970-01-01 of the proleptic Gregorian calendar. */
static long days_of(long year, int month, int day)
{
    static const int before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    long leaps = month > 2 ? year : year - 1; /* years that a leap day came in */
    long leap_days = leaps / 4 - leaps / 100 + leaps / 400;
    return (year - 1970) * 365 + leap_days - 477 + before[month - 1] + day - 1;
}

/* 0: no such month. */
static int days_in(int year, int month)
{
    static const int days[] = {0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    const bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month > 12 ? 0 : days[month] + (month == 2 && leap);
}

/* A date, and a time where there is one, as seconds and what comes after the point; years 0001 to
 * 9999, which is all that is compared by value. */
static bool parse_date(const char *text, const char *end, enum type type, long *seconds,
                       const char **fraction, size_t *n_fraction, bool *zoned)
{
    int year, month, day, hour = 0, minute = 0, second = 0, zone_hour = 0, zone_minute = 0;
    *n_fraction = 0;
    if (!take(&text, end, 4, &year) || !take_char(&text, end, '-') ||
        !take(&text, end, 2, &month) || !take_char(&text, end, '-') || !take(&text, end, 2, &day) ||
        year < 1 || day < 1 || day > days_in(year, month))
        return false;
    if (type == DATE_TIME && (!take_char(&text, end, 'T') || !take(&text, end, 2, &hour) ||
                              !take_char(&text, end, ':') || !take(&text, end, 2, &minute) ||
                              !take_char(&text, end, ':') || !take(&text, end, 2, &second) ||
                              hour > 24 || minute > 59 || second > 59))
        return false;
    if (type == DATE_TIME && take_char(&text, end, '.')) {
        *fraction = text;
        *n_fraction = digits(text, end);
        text += *n_fraction;
        if (*n_fraction == 0)
            return false;
        while (*n_fraction && (*fraction)[*n_fraction - 1] == '0')
            --*n_fraction;
    }
    if (hour == 24 && (minute || second || *n_fraction)) /* it ends the day */
        return false;
    *zoned = text < end;
    if (*zoned && !take_char(&text, end, 'Z')) {
        bool west = take_char(&text, end, '-');
        if ((!west && !take_char(&text, end, '+')) || !take(&text, end, 2, &zone_hour) ||
            !take_char(&text, end, ':') || !take(&text, end, 2, &zone_minute) || zone_minute > 59 ||
            zone_hour * 60 + zone_minute > 14 * 60)
            return false;
        if (west)
            zone_hour = -zone_hour, zone_minute = -zone_minute;
    }
    *seconds = days_of(year, month, day) * 86400L + hour * 3600L + minute * 60L + second -
               zone_hour * 3600L - zone_minute * 60L;
    return text == end;
}

static strata_status put_date(const struct strata__term *literal, enum type type,
                              struct strata__bytes *out, bool *known)
{
    long seconds;
    const char *fraction = "";
    size_t n_fraction;
    bool zoned;
    char text[40];
    *known = parse_date(literal->text, literal->text + literal->size, type, &seconds, &fraction,
                        &n_fraction, &zoned);
    if (!*known)
        return STRATA_OK;
    int n = snprintf(text, sizeof text, "d%c%c%ld.", type == DATE ? 'd' : 't', zoned ? 'z' : 'l',
                     seconds);
    STRATA_TRY(strata__bytes_append(out, text, (size_t)n));
    return strata__bytes_append(out, fraction, n_fraction);
}

/* ---- Literals ---- */

static bool is(const struct strata__term *literal, const char *text)
{
    return literal->size == strlen(text) && !memcmp(literal->text, text, literal->size);
}

strata_status strata__literal_value(const struct strata__term *literal, struct strata__bytes *out)
{
    bool known = false;
    if (literal->kind != 'T') {
        STRATA_TRY(strata__bytes_append(out, "s", 1));
        return strata__fold_name(literal->text, literal->size, out);
    }
    const enum type type = type_of(literal);
    if (type == BOOLEAN && (is(literal, "true") || is(literal, "1")))
        return strata__bytes_append(out, "b1", 2);
    if (type == BOOLEAN && (is(literal, "false") || is(literal, "0")))
        return strata__bytes_append(out, "b0", 2);
    if (type == DATE_TIME || type == DATE)
        STRATA_TRY(put_date(literal, type, out, &known));
    else if (type != OTHER && type != BOOLEAN)
        STRATA_TRY(put_numeric(literal->text, literal->size, type, out, &known));
    return known ? STRATA_OK : strata__term_encode(literal, out);
}
