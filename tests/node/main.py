"""Runs every row of this folder in sequence, and prints their results.

A row takes the path of the program, and returns figures or raises.
"""

import subprocess
import sys

from rows import run

import apps
import hostile
import printed_page
import web
from processes import EXPRESS

ROWS = [
    hostile.vf1_vf4_each_api_accepts_good_tokens_and_as_few_hostile_ones_as_the_page_says,
    hostile.vf1_no_api_accepts_a_token_outside_the_header,
    hostile.while_the_issuer_is_down_each_api_answers_503,
    apps.each_app_gets_a_token_and_calls_the_api,
    web.a_user_signs_in_orders_loses_a_permission_stays_signed_in_and_signs_out,
    printed_page.the_page_does_what_it_says,
    printed_page.the_excerpts_of_the_page_are_from_the_examples,
]

subprocess.run(["npm", "ci", "--silent", "--no-audit", "--no-fund"], cwd=EXPRESS, check=True)
run("node", ROWS, sys.argv[1], sys.argv[2:])
