/* A real class: refused when it is loaded, since there is no Objective-C run-time system here. */
__attribute__((objc_root_class)) @interface Root {
  id isa;
}
+ (int)answer;
@end
@implementation Root
+ (int)answer {
  return 42;
}
@end

int answer(void) { return [Root answer]; }
