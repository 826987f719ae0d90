"""Answer the AWS Lambda API, so that boto3, the aws command line and every SDK can use this hub."""
