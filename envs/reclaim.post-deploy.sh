#!/bin/sh
# Snakemake runs this in the new environment, from the folder of the workflow.
pip install --no-deps --editable .
