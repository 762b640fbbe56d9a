#!/bin/sh
# A command on YARN, with a packed virtual environment: yarn.sh env.tar.gz run LIST... --recipe align --out DATASET
set -eu
environment=$1
shift
exec spark-submit --master yarn --deploy-mode client \
  --num-executors 50 --executor-cores 4 --executor-memory 3g \
  --conf spark.executor.memoryOverhead=5g \
  --archives "$environment#env" \
  --conf spark.pyspark.python=env/bin/python \
  --conf spark.pyspark.driver.python="$(command -v python3)" \
  jobs/submit.py "$@"
