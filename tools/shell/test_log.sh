# What a ctest run did, case by case: sourced, not run.
#
# A cmocka program is counted by its cases, any other test as one.  ctest's own listing says how a
# test ended; its LastTest.log has what the test printed, and there the reasons.

# test_log_cases LISTING LOG STEP: one line a case or test, "passed", "failed" or "skipped", a tab,
# and where that needs saying "  STEP: TEST: CASE: REASON".
test_log_cases()
{
    awk -v step="$3" '
    function tell(kind, where, why) {
        printf "%s\t  %s: %s%s\n", kind, step, where, why == "" ? "" : ": " why
    }
    # The listing: "1/6 Test #3: name ....***Skipped   0.02 sec"
    FNR == NR {
        if ($0 ~ /^ *[0-9]+\/[0-9]+ Test +#[0-9]+: .* +[0-9.]+ sec/) {
            sub(/^[^:]*: /, "")
            name = $1
            if ($0 ~ /\*\*\*Skipped/)
                ending[name] = "skipped"
            else if ($0 ~ /\*\*\*|Subprocess|Exception/ || $0 !~ / Passed /)
                ending[name] = "failed"
            else
                ending[name] = "passed"
            sub(/^[^*]*\*\*\*/, "")
            sub(/ +[0-9.]+ sec.*/, "")
            verdict[name] = $0
        }
        next
    }
    /^[0-9]+\/[0-9]+ Testing: / {
        test = $3
        case_name = said = last = ""
        cases = failures = 0
    }
    /^\[ RUN      \] / { case_name = substr($0, 14); said = ""; next }
    case_name != "" && /^\[       OK \] / {
        cases++
        tell("passed", test ": " case_name)
        case_name = ""
        next
    }
    case_name != "" && /^\[  SKIPPED \] / {
        cases++
        tell("skipped", test ": " case_name, said)
        case_name = ""
        next
    }
    case_name != "" && /^\[  (FAILED |ERROR  ) \] [^-]/ {
        cases++
        failures++
        tell("failed", test ": " case_name)
        case_name = ""
        next
    }
    /^<end of output>/ {
        if (ending[test] == "failed" && failures == 0)
            tell("failed", test, verdict[test])
        else if (ending[test] == "skipped" && cases == 0)
            tell("skipped", test, last)
        else if (cases == 0)
            tell("passed", test)
        next
    }
    { said = said == "" ? $0 : said; last = $0 }
    ' "$1" "$2"
}
