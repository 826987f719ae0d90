// What aws-lambda-ric calls.
export const handler = async (event, context) => ({
  hello: event.name ?? "you",
  left: context.getRemainingTimeInMillis() > 0,
});
