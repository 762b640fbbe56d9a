#!/bin/sh
# A command on a standalone cluster: standalone.sh spark://HOST:7077 run LIST... --recipe align --out DATASET
set -eu
master=$1
shift
exec spark-submit --master "$master" \
  --executor-cores 4 --executor-memory 3g \
  --conf spark.executor.memoryOverhead=5g \
  --conf spark.task.maxFailures=4 \
  --py-files "$(ls dist/align_data-*.zip)" \
  jobs/submit.py "$@"
